"""What the best constant predictor costs under a task's own loss.

The shares of the classes, or the mean of the targets, are only where the search for it begins:
class weights, smoothed labels or an absolute error have their best constant elsewhere, and judged
against a dearer one every run would seem to have learned something.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from batchfront.objectives.loss import Loss

if TYPE_CHECKING:
    from torch import Tensor

SEARCHED = 1 << 16  # targets that the search looks at
ROUNDS = 50
FLAT = 1e-4  # a slope of this share of the loss leads nowhere
FAR = 30.0  # units from the start, or times it: beyond, no loss has its least value


def constant_loss(loss: Loss, start: Tensor, y: Tensor, *, part: int) -> float:
    """The least loss of an example at an output that is the same for all; `y`: all targets.

    `start`: (1, ...), a good one: what plain means are least at. `part`: examples at a time.
    """
    import torch

    with torch.no_grad():
        constants = [start, *_lower(loss, start, y, part)]
        costs = [float(_mean_at(loss, constant, y, part)) for constant in constants]
    return min((cost for cost in costs if math.isfinite(cost)), default=costs[0])


def _lower(loss: Loss, start: Tensor, y: Tensor, part: int) -> list[Tensor]:
    """The constants that searches from `start` end at, if they lead anywhere.

    Log-probabilities have no least loss among all numbers (the larger, the better); they have one
    among those whose exponentials sum to 1. Values are searched in steps of 1, right for logits,
    and in steps of the targets' own size, right for errors.
    """
    some = y[:: -(-y.numel() // SEARCHED)]
    if start.ndim > y.ndim:
        tried = (_descend(loss, start, 1.0, some, shape, part) for shape in (_itself, _log_softmax))
        return list(islice((found for found in tried if found is not None), 1))
    units = (1.0, _deviation(start, some))
    tried = (_descend(loss, start, unit, some, _itself, part) for unit in units)
    return [found for found in tried if found is not None]


def _deviation(start: Tensor, y: Tensor) -> Tensor:
    """The targets' mean deviation from `start`, 1 where there is none.

    The slope of an absolute error does not grow with its targets: in steps of 1 a search among
    thousands sees no slope at all.
    """
    deviation = (y - start).abs().mean(dim=0, keepdim=True, dtype=start.dtype)
    return deviation.where(deviation > 0, 1.0)


def _itself(free: Tensor) -> Tensor:
    return free


def _log_softmax(free: Tensor) -> Tensor:
    return free.log_softmax(dim=1)


def _descend(
    loss: Loss,
    start: Tensor,
    unit: Tensor | float,
    y: Tensor,
    shape: Callable[[Tensor], Tensor],
    part: int,
) -> Tensor | None:
    """The constant that a descent ends at; None where the loss falls for ever, or has no slope."""
    import torch

    begin = start.detach() / unit
    free = begin.clone().requires_grad_()
    search = torch.optim.LBFGS([free], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        search.zero_grad()
        value = _mean_at(loss, shape(free * unit), y, part)
        value.backward()
        return value

    try:
        with torch.enable_grad():
            value = float(cost().detach())
            if free.grad is None or float(free.grad.abs().max()) <= FLAT * abs(value):
                return start
            search.step(cost)
    except Exception:  # a loss may take no output but its model's: probabilities, say
        return None
    moved, reach = (free - begin).detach().abs().max(), FAR * begin.abs().max().clamp(min=1.0)
    return shape(free * unit).detach() if bool(moved <= reach) else None


def _mean_at(loss: Loss, constant: Tensor, y: Tensor, part: int) -> Tensor:
    outputs = ((repeated(constant, some), some) for some in y.split(part))
    return loss.mean(outputs, n=len(y))


def repeated(constant: Tensor, y: Tensor) -> Tensor:
    """(1, C) for classes (B,), (1, C, 1) for classes (B, T), (1, K) or (1,) for values."""
    rest = y.shape[1:] if constant.ndim <= y.ndim else (constant.shape[1], *y.shape[1:])
    return constant.expand(len(y), *rest)
