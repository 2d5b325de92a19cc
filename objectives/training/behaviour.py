"""How a task's training code behaves, in numbers: what a comment leaves alone and an edit moves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loss import as_loss
from batchfront.objectives.measurement import ObjectiveError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from batchfront.objectives.task import Data, Task

EXAMPLES = 8  # of the fixed batch
MAX_NORMS = 100  # that are stored: of larger models, neighbouring parameters share one
SEED = 0


def built(task: Task) -> nn.Module:
    """The task's model, its weights drawn from a fixed seed."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return task.model()


def check_fresh(task: Task, model: nn.Module) -> None:
    """Raise ObjectiveError where a second model has tensors of the first that training changes.

    Then one run would go on with the weights of another. A frozen part may be shared.
    """
    mine = {_storage(tensor) for _, tensor in _trained(model)}
    shared = [name for name, tensor in _trained(built(task)) if _storage(tensor) in mine]
    if shared:
        raise ObjectiveError(
            f"task {task.name!r}: model() returns the same tensor {shared[0]!r} at every call, so "
            "that a run would go on with the weights of the one before: build or deep-copy it anew"
        )


def behaviour(task: Task, data: Data) -> dict[str, Any]:
    """Loss and gradient norms of a new model on the first training examples, on the CPU.

    Runs that were made with the same code have the same numbers, on any device.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = task.model().train()
        loss = as_loss(task.loss)(model(data.x_train[:EXAMPLES]), data.y_train[:EXAMPLES])
        loss.backward()
    squares = [_squared_norm(parameter.grad) for parameter in model.parameters()]
    return {
        "loss": _rounded(float(loss.detach())),
        "gradient_norms": [_rounded(math.sqrt(sum(part))) for part in _parts(squares)],
        "torch": torch.__version__.split("+")[0],
    }


def _trained(model: nn.Module) -> list[tuple[str, Tensor]]:
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [*parameters, *model.named_buffers()]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


def _squared_norm(gradient: Tensor | None) -> float:
    if gradient is None:
        return 0.0
    dense = gradient.coalesce().values() if gradient.is_sparse else gradient
    return float(dense.double().square().sum())


def _parts(squares: list[float]) -> list[list[float]]:
    size = max(1, math.ceil(len(squares) / MAX_NORMS))
    return [squares[start : start + size] for start in range(0, len(squares), size)]


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
