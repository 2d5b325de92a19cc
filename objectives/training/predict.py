"""Peak memory of a training step, predicted without running it.

Model, batch and optimizer are built from fake tensors, which have shapes but no data, and two steps
are "run" under the same meter that counts real ones. It needs neither the device nor the memory,
about 0.2 s for each batch size. What an operator allocates inside itself, and the workspaces of
cuBLAS and cuDNN, stay invisible; `calibrated` corrects for them from sizes that were measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loading.tree import Nested, mapped
from batchfront.objectives.loss import as_loss
from batchfront.objectives.meters.memory import MEASURED_STEPS, CpuMeter
from batchfront.objectives.training.clipping import Clipper
from batchfront.objectives.training.cuda_autocast import as_on_cuda
from batchfront.objectives.training.optimizer import build_optimizer
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.objectives.training.step import build_model, changes_step, gradient

if TYPE_CHECKING:
    from batchfront.objectives.task import Data, Task

CUDA_GRANULARITY = 512  # bytes; the caching allocator rounds every block up to a multiple
PREDICTABLE = (
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop",
)  # fmt: skip


def predict_peak_bytes(
    task: Task, data: Data, *, batch_size: int, device: str, recipe: Recipe = PLAIN
) -> int | None:
    """High-water bytes of two training steps; None where no prediction can be trusted.

    `recipe`: with nothing left to be searched.

    None for optimizers whose step needs real values, and for models that fake tensors cannot run
    (their control flow depends on data, say).
    """
    import torch

    granularity = CUDA_GRANULARITY if device.startswith("cuda") else 1
    meter = CpuMeter(granularity=granularity)
    with torch.random.fork_rng(devices=[]), _fake_mode(), warnings.catch_warnings():
        # A deep copy of a fake tensor asks for its address, which does no harm here.
        warnings.filterwarnings("ignore", ".*data pointer of FakeTensor")
        try:
            x, y = _fake_batch(data.x_train, batch_size), _fake_batch(data.y_train, batch_size)
            meter.start()
            _two_steps(task, x, y, like_device=device, recipe=recipe)
        except Exception:  # fake tensors refuse in many ways; each means: no prediction
            return None
        finally:
            meter.stop()
    return meter.peak_bytes


def _fake_mode() -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode  # no public name yet

    class CopyableMode(FakeTensorMode):
        """nn.TransformerEncoder deep-copies its layer, and with it a reference to the mode."""

        def __deepcopy__(self, memo: dict[int, Any]) -> CopyableMode:
            return self

    return CopyableMode()


def _fake_batch(like: Any, batch_size: int) -> Any:
    """A batch of so many examples with the shapes of another; what is no tensor stays."""
    import torch

    n = len(like)

    def resized(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if leaf.ndim > 0 and len(leaf) != n:
            raise NotImplementedError("its examples do not lie along the first dimension")
        return torch.empty((batch_size, *leaf.shape[1:]) if leaf.ndim else (), dtype=leaf.dtype)

    if isinstance(like, Nested):
        return Nested(mapped(resized, like.tree), batch_size)
    return resized(like)


def _two_steps(task: Task, x: Any, y: Any, *, like_device: str, recipe: Recipe) -> None:
    model = build_model(task, recipe).train()
    optimizer = build_optimizer(task, model, learning_rate=1e-3, device=like_device)
    if type(optimizer).__name__ not in PREDICTABLE:
        raise NotImplementedError(type(optimizer).__name__)
    loss = as_loss(task.loss)
    on_cuda = like_device.startswith("cuda") and recipe.precision != "float32"
    for _ in range(MEASURED_STEPS):
        if changes_step(recipe, len(x)):
            with as_on_cuda() if on_cuda else nullcontext():
                gradient(model, loss, x, y, recipe=recipe, device="cpu")
            if recipe.clip_grad_norm is not None:
                Clipper(model, recipe.clip_grad_norm, device="cpu")()
            optimizer.step()
            continue
        for parameter in model.parameters():
            parameter.grad = None
        loss(model(x), y).backward()
        optimizer.step()


def calibrated(
    predicted: Mapping[int, int | None], measured: Mapping[int, int]
) -> dict[int, int | None]:
    """Predictions corrected by the sizes that were measured: peak = offset + factor x predicted.

    With two or more measured sizes a straight line, with one its ratio, with none no change.
    """
    pairs = [(p, measured[b]) for b, p in predicted.items() if p is not None and b in measured]
    if not pairs:
        return dict(predicted)
    if len({p for p, _ in pairs}) == 1:
        factor, offset = pairs[-1][1] / pairs[-1][0], 0.0
    else:
        import numpy as np

        # Weights 1/predicted: relative errors count, so the largest size does not rule alone.
        xs, ys = np.array(pairs, dtype=float).T
        factor, offset = np.polyfit(xs, ys, 1, w=1 / xs)
    return {
        b: None if p is None else max(0, round(offset + factor * p)) for b, p in predicted.items()
    }
