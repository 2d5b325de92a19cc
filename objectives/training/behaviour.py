"""How a task's training code behaves, in numbers: what a comment leaves alone and an edit moves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.randomness import (
    random_states,
    restore_random_states,
    seed_everything,
)
from batchfront.objectives.loading.tree import tensors
from batchfront.objectives.loss import as_loss
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.training.own_schedule import rates_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from batchfront.objectives.task import Data, Task

EXAMPLES = 8  # of the fixed batch
MAX_NORMS = 100  # that are stored: of larger models, neighbouring parameters share one
SEED = 0
NOWHERE = {0}  # where tensors lie that have no elements, or none yet


@contextmanager
def _seeded() -> Iterator[None]:
    """The same random numbers inside, whoever draws them; outside as if nobody had."""
    before = random_states("cpu")
    seed_everything(SEED)
    try:
        yield
    finally:
        restore_random_states(before, "cpu")


def built(task: Task) -> nn.Module:
    """The task's model, its weights drawn from a fixed seed."""
    with _seeded():
        return task.model()


def check_fresh(task: Task, model: nn.Module, data: Data) -> None:
    """Raise ObjectiveError where a second model has tensors of the first that training changes.

    Then one run would go on with the weights of another. A frozen part may be shared, and buffers
    that stay what they are.
    """
    second = built(task)
    mine = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    trained = [(name, p) for name, p in second.named_parameters() if p.requires_grad]
    shared = [name for name, p in trained if _storage(p) in mine - NOWHERE]
    held = {n: b for n, b in second.named_buffers() if _storage(b) in mine - NOWHERE}
    shared += _changed_by_training(second, held, data) if held else []
    if shared:
        raise ObjectiveError(
            f"task {task.name!r}: model() returns the same tensor {shared[0]!r} at every call, so "
            "that a run would go on with the weights of the one before: build or deep-copy it anew"
        )


def _changed_by_training(model: nn.Module, buffers: Mapping[str, Tensor], data: Data) -> list[str]:
    """Names of the buffers that a forward pass writes into; afterwards they are as before."""
    import torch

    before = {name: buffer.clone() for name, buffer in buffers.items()}
    with _seeded(), torch.no_grad():
        model.train()(data.x_train[:EXAMPLES])
        changed = [name for name, buffer in buffers.items() if not buffer.equal(before[name])]
        for name in changed:
            buffers[name].copy_(before[name])
    return changed


def behaviour(task: Task, data: Data) -> dict[str, Any]:
    """Loss and gradient norms of a new model on the first training examples, on the CPU.

    Runs that were made with the same code have the same numbers, on any device. Nothing where the
    same code gives different ones: it draws random numbers that no seed reaches.
    """
    first = _measured(task, data)
    return first if _measured(task, data) == first else {}


def _measured(task: Task, data: Data) -> dict[str, Any]:
    import torch

    with _seeded():
        model = task.model().train()
        output = model(data.x_train[:EXAMPLES])
        loss = as_loss(task.loss)(output, data.y_train[:EXAMPLES])
        loss.backward()
    squares = [_squared_norm(parameter.grad) for parameter in model.parameters()]
    return {
        "weights": _norm_of(list(model.parameters())),
        **({} if task.step is not None else {"output": _norm_of(tensors(output))}),
        "loss": _rounded(float(loss.detach())),
        "gradient_norms": [_rounded(math.sqrt(sum(part))) for part in _parts(squares)],
        **({} if task.scheduler is None else {"learning_rates": rates_of(task, model)}),
        "torch": torch.__version__.split("+")[0],
    }


def _storage(tensor: Tensor) -> int:
    from torch.nn.parameter import is_lazy

    return 0 if is_lazy(tensor) else int(tensor.untyped_storage().data_ptr())


def _squared_norm(gradient: Tensor | None) -> float:
    if gradient is None:
        return 0.0
    dense = gradient.coalesce().values() if gradient.is_sparse else gradient
    return float(dense.double().square().sum())


def _norm_of(some: list[Tensor]) -> float | None:
    """The Euclidean norm of all numbers in those of the tensors that hold floats."""
    numbers = [one.detach() for one in some if one.is_floating_point()]
    return _rounded(math.sqrt(sum(map(_squared_norm, numbers))))


def _parts(squares: list[float]) -> list[list[float]]:
    size = max(1, math.ceil(len(squares) / MAX_NORMS))
    return [squares[start : start + size] for start in range(0, len(squares), size)]


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
