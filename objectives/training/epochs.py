"""One epoch of plain or compiled steps, and how a run goes on from what was kept after one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from batchfront.objectives.training.clipping import share_of
from batchfront.objectives.training.compiled import CLIPPED, BoundStep
from batchfront.objectives.training.optimizer import step_function

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from batchfront.objectives.run import Run
    from batchfront.objectives.training.feed import Batches


def ordinary_epoch(
    model: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    run: Run,
    batches: Batches,
) -> None:
    """Take one step with each batch, and report it."""
    parameters = list(model.parameters())
    step = step_function(optimizer)
    for x, y in batches:
        for parameter in parameters:  # zero_grad(), without its bookkeeping
            parameter.grad = None
        loss = loss_of(model(x), y)
        loss.backward()
        step()
        run.step(loss)
        del x, y  # so that the next one has not to lie beside it


def compiled_epoch(bound: BoundStep, run: Run, batches: Batches) -> None:
    """Take one compiled step with each batch, and report it."""
    try:
        for x, y in batches:
            run.step(bound.step(x, y))
            del x, y
    finally:
        if CLIPPED in bound.state:
            run.trained_with(clipped_share=share_of(bound.state[CLIPPED][0]))


def go_on_from(kept: dict[str, Any], states: dict[str, Any]) -> int:
    """Load what was saved after an epoch; returns the next one."""
    for name, part in states.items():
        # An optimizer would keep tensors that were read before any meter looked: copies count, and
        # larger batches that are yet to come are measured on top of them.
        part.load_state_dict(_copied(kept[name]) if "sizes" in states else kept[name])
    return int(kept["epoch"]) + 1


def _copied(state: Any) -> Any:
    import torch

    if isinstance(state, torch.Tensor):
        return state.clone()  # not deepcopy, which no meter of operators sees
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list) else state
