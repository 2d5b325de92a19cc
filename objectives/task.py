"""`Task`: a model, data, loss and metric, to be trained by our loop; checked before it is used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from batchfront.objectives.loss import Loss, as_loss
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.meters.early_stopping import EarlyStopping, ending_of
from batchfront.objectives.parameter import Parameter, Value, bound, check_search, names_taken

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DEFAULT_EPOCHS = 20
EVALUATED_TARGETS = 4096  # per forward pass of a validation,
EVALUATED_INPUTS = 1 << 21  # and numbers that go in: 8 MB


@dataclass(frozen=True, kw_only=True)
class Data:
    """Fixed splits. x: (N, ...); y: int64 classes (N, ...), or (N,) / (N, K) float targets.

    Training sees `train`, the search sees `val`; nothing but a final score may see `test`.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to train. Every callable makes something new at each call and keeps no state."""

    name: str
    data: Callable[[], Data]
    model: Callable[[], nn.Module]
    """Builds a model on the CPU; torch's global generator is seeded before the call."""
    loss: Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]
    """(model output, targets) -> scalar, the mean over the batch; or, where examples do not weigh
    alike, the sum and what it is to be divided by, so that a batch can be split."""
    optimizer: Callable[..., torch.optim.Optimizer]
    """Called as optimizer(parameters, lr=learning_rate)."""
    metric: Literal["accuracy", "r2"] = "accuracy"
    epochs: int = DEFAULT_EPOCHS
    early_stopping: EarlyStopping | None = None
    """When a run ends that gets no better; a study may be asked for another rule."""
    report: Literal["last", "best"] = "last"
    """The epoch whose metric is told: the last one, or the best."""
    search: Mapping[str, Parameter] = field(default_factory=dict)
    """More to search, by the names under which `model` and `optimizer` take the values."""

    def at(self, values: Mapping[str, Value]) -> Task:
        """The task with the values of its searched parameters filled in."""
        model, optimizer = bound(self.model, values), bound(self.optimizer, values)
        return replace(self, model=model, optimizer=optimizer)


def sgd_momentum(parameters: Any, **kwargs: Any) -> torch.optim.Optimizer:
    """SGD with momentum 0.9; `**kwargs` as for torch.optim.SGD."""
    import torch

    return torch.optim.SGD(parameters, **{"momentum": 0.9, **kwargs})


def check_task(task: Task) -> None:
    """Raise ObjectiveError for settings no run could use."""
    if task.metric not in ("accuracy", "r2"):
        raise ObjectiveError(
            f"task {task.name!r}: metric is {task.metric!r}, wanted accuracy or r2"
        )
    if not isinstance(task.epochs, int) or task.epochs < 1:
        raise ObjectiveError(f"task {task.name!r}: epochs is {task.epochs!r}, wanted at least 1")
    ending_of(task).check()
    check_search(task.search, task=task.name)
    taken = names_taken(task.model, task.search) | names_taken(task.optimizer, task.search)
    for name in set(task.search) - taken:
        raise ObjectiveError(
            f"task {task.name!r}: nobody takes the searched parameter {name!r}: give model or "
            "optimizer an argument of that name"
        )


def check_data(data: Data, *, task: str) -> None:
    """Raise ObjectiveError for unequal lengths, empty splits, NaN, or no tensors at all."""
    import torch

    if not isinstance(data, Data):
        raise ObjectiveError(f"task {task!r}: data() returned {type(data).__name__}, wanted Data")
    for one in fields(data):
        tensor = getattr(data, one.name)
        if not isinstance(tensor, torch.Tensor):
            raise ObjectiveError(
                f"task {task!r}: {one.name} is {type(tensor).__name__}, wanted a torch.Tensor"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            n_bad = int((~torch.isfinite(tensor)).sum())
            raise ObjectiveError(
                f"task {task!r}: {one.name} has {n_bad} NaN or infinite values: "
                "clean or impute them first"
            )
    for split in ("train", "val", "test"):
        x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
            raise ObjectiveError(
                f"task {task!r}: x_{split} has shape {tuple(x.shape)} and y_{split} "
                f"{tuple(y.shape)}: wanted the same number of examples, at least one"
            )


def check_forward(task: Task, model: nn.Module, data: Data) -> None:
    """Run two examples through model and loss, so that shape mistakes show before the search."""
    import torch

    n = min(2, len(data.x_train))
    x, y = data.x_train[:n], data.y_train[:n]
    model.eval()
    with torch.inference_mode():
        output = model(x)
        if task.metric == "r2" and output.shape != y.shape:
            raise ObjectiveError(
                f"task {task.name!r}: the model returns shape {tuple(output.shape)} for targets of "
                f"shape {tuple(y.shape)}: wanted the same shape"
            )
        if task.metric == "accuracy" and (
            y.dtype != torch.int64
            or output.ndim != y.ndim + 1
            or (*output.shape[:1], *output.shape[2:]) != y.shape
        ):
            raise ObjectiveError(
                f"task {task.name!r}: accuracy wants outputs (B, classes) and int64 targets (B,), "
                "or outputs (B, classes, T) and targets (B, T), "
                f"found {tuple(output.shape)} and {y.dtype} {tuple(y.shape)}"
            )
        loss = task.loss(output, y)
    given = loss if isinstance(loss, tuple) and len(loss) == 2 else (loss,)
    if not all(isinstance(one, torch.Tensor) and one.ndim == 0 for one in given):
        raise ObjectiveError(
            f"task {task.name!r}: loss must return a scalar tensor, or a sum and its weight, each "
            "a scalar tensor"
        )


def fingerprint(task: Task, model: nn.Module, data: Data) -> dict[str, str]:
    """What must be the same for two runs to belong to one study: data, model and optimizer."""
    shapes = [(name, tuple(p.shape), str(p.dtype)) for name, p in model.named_parameters()]
    return {
        "data": data_hash(data),
        "model": _short_hash(repr(shapes)),
        "architecture": _short_hash(repr(model)),
        "loss": function_name(task.loss),
        "optimizer": optimizer_name(task, model),
    }


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def function_name(function: Any) -> str:
    """A name without memory addresses, which change from process to process."""
    if isinstance(function, partial):
        keywords = (f"{key}={function_name(value)}" for key, value in function.keywords.items())
        given = [*map(function_name, function.args), *keywords]
        return f"{function_name(function.func)}({', '.join(given)})"
    name = getattr(function, "__qualname__", None) or repr(function)
    return re.sub(" at 0x[0-9a-f]+", "", name)


def data_hash(data: Data) -> str:
    """Hash of all six tensors: shapes, types and bytes."""
    import numpy as np

    digest = hashlib.sha256()
    for split in fields(data):
        tensor = getattr(data, split.name)
        digest.update(f"{split.name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(array.reshape(-1).view(np.uint8).data)  # without a copy
    return digest.hexdigest()[:16]


def optimizer_name(task: Task, model: nn.Module) -> str:
    """The optimizer with what differs from torch's defaults: `SGD(momentum=0.9)`."""
    import torch

    optimizer = task.optimizer(model.parameters(), lr=0.5)
    kind: Callable[..., torch.optim.Optimizer] = type(optimizer)
    try:
        plain = kind([torch.nn.Parameter(torch.zeros(1))], lr=0.5).defaults
    except TypeError:  # it has arguments without defaults, which the task gave
        plain = {}
    ignored = {"lr", "foreach", "fused", "capturable", "differentiable"}
    changed = {
        key: value
        for key, value in sorted(optimizer.defaults.items())
        if key not in ignored and plain.get(key) != value
    }
    return f"{type(optimizer).__name__}({', '.join(f'{k}={v}' for k, v in changed.items())})"


def baseline(
    task: Task, model: nn.Module, data: Data, loss: Loss | None = None
) -> tuple[float, float]:
    """Training loss of an example and metric of the best constant predictor.

    Classes: the loss at logits equal to the log of their shares (for cross-entropy the entropy of
    the shares), and the share of the largest. Targets: the loss at their mean (for squared error
    their variance), and an R2 of 0.
    """
    import torch

    y, loss = data.y_train, loss or as_loss(task.loss)
    if task.metric == "r2":
        constant = y.mean(dim=0, keepdim=True).expand_as(y)
        return float(loss.mean([(constant, y)], n=len(y))), 0.0
    with torch.inference_mode():
        n_classes = model.eval()(data.x_train[:2]).shape[1]
    counted = y[loss.counted(y)]  # (N,) or (N T,), without what the loss ignores
    shares = torch.bincount(counted.flatten(), minlength=n_classes).float() / counted.numel()
    logits = shares.clamp(min=1e-9).log().view(-1, *[1] * (y.ndim - 1))  # (C,) or (C, 1)
    parts = (
        (logits.expand(len(part), n_classes, *y.shape[1:]), part)  # (B, C) or (B, C, T)
        for part in y.split(evaluation_batch(data))
    )
    return float(loss.mean(parts, n=len(y))), float(shares.max())


def evaluation_batch(data: Data) -> int:
    """Examples per forward pass where nothing is learned: what they need must fit beside a run."""
    n_inputs, n_targets = (max(1, z[0].numel()) for z in (data.x_train, data.y_train))
    return max(1, min(EVALUATED_TARGETS // n_targets, EVALUATED_INPUTS // n_inputs))
