"""What a trained model says about where training went: distance and sharpness.

Computed at the end of a completed run, off the clock; every random state is put back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import is_out_of_memory
from batchfront.objectives.device.randomness import (
    random_states,
    restore_random_states,
    seed_everything,
)
from batchfront.objectives.loss import SUM, over

if TYPE_CHECKING:
    from torch import Tensor, nn

    from batchfront.objectives.loading.examples import Examples
    from batchfront.objectives.loss import Loss
    from batchfront.objectives.task import Task

EPSILON = 1e-3  # of the box around the weights
SUBSET = 1024  # training examples, evenly spaced: the same for all runs
ASCENT_STEPS = 20
CHUNK = 256  # examples of one backward pass


def diagnose(
    asked: tuple[str, ...],
    model: nn.Module,
    *,
    task: Task,
    loss: Loss,
    examples: Examples,
    seed: int,
    device: str,
) -> dict[str, float | None]:
    """Figures by name; None for one that could not be had. `examples`: the training split."""
    states = random_states(device)
    try:
        found: dict[str, float | None] = {}
        if "distance" in asked:
            found.update(_distances(model, task, seed))
        if "sharpness" in asked:
            found["sharpness"] = _sharpness_on_subset(model, loss, examples, device)
        return found
    finally:
        restore_random_states(states, device)


def _distances(model: nn.Module, task: Task, seed: int) -> dict[str, float | None]:
    """The 2-norms of all parameters and of their distance from the initial ones.

    The initial model is made again from its seed, on the CPU: to keep a copy of it would cost
    memory during the run.
    """
    seed_everything(seed)
    pairs = list(zip(model.parameters(), task.model().parameters(), strict=True))
    norm, distance = 0.0, 0.0
    for now, first in pairs:
        weights = now.detach().cpu().double()
        norm += float(weights.square().sum())
        distance += float((weights - first.detach().double()).square().sum())
    return {"weight_norm": norm**0.5, "distance_from_init": distance**0.5}


def _sharpness_on_subset(
    model: nn.Module, loss: Loss, examples: Examples, device: str
) -> float | None:
    """The sharpness of a copy of the model on a subset; None where the device lacks room for it.

    That is no failure of the run, which was fine.
    """
    import torch

    n = len(examples)
    picked = torch.linspace(0, n - 1, min(SUBSET, n)).long()
    parts = [examples.at(some) for some in picked.split(CHUNK)]
    try:
        trial = copy.deepcopy(model).eval()

        def losses() -> float:
            """The mean loss; adds its gradient to that of the parameters."""
            terms, weights = [], []
            for x_part, y_part in parts:
                output = trial(x_part.to(device))
                term, weight = loss.part(output, y_part.to(device), n=len(picked))
                term.backward()  # for the direction alone
                terms.append(term.detach())
                weights.append(weight)
            return float(over(sum(terms), weights)) / (len(picked) if loss.kind == SUM else 1)

        return sharpness([p for p in trial.parameters() if p.requires_grad], losses)
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise


def sharpness(weights: list[Tensor], losses: Callable[[], float]) -> float | None:
    """100 (max f - f) / (1 + f) over a box around the weights (arXiv:1609.04836, metric 2.1).

    The box is epsilon (|w| + 1) wide to each side. The paper maximises by ten iterations of
    L-BFGS-B; we take signed gradient steps, projected onto the box, from its centre and from one
    random corner: no line search, and both find the corner where the loss is linear. What is found
    is a lower bound of the maximum.

    Args:
        weights: leaves that `losses` depends on; changed in place.
        losses: returns the loss, and adds its gradient to that of `weights`.
    """
    import torch

    centre = [w.detach().clone() for w in weights]
    width = [EPSILON * (w.abs() + 1) for w in centre]
    generator = torch.Generator().manual_seed(0)
    corner = [torch.rand(w.shape, generator=generator).to(w).round() * 2 - 1 for w in centre]
    lowest = _loss_at(weights, centre, losses)
    if not abs(lowest) < float("inf"):
        return None
    highest = lowest
    for start in (0.0, 1.0):
        at = [c + start * w * s for c, w, s in zip(centre, width, corner, strict=True)]
        for step in range(ASCENT_STEPS + 1):
            loss = _loss_at(weights, at, losses)
            if loss > highest:
                highest = loss
            stride = 1 - step / ASCENT_STEPS
            at = [_moved(*parts, stride) for parts in zip(weights, centre, width, strict=True)]
    return 100 * (highest - lowest) / (1 + lowest)


def _loss_at(weights: list[Tensor], at: list[Tensor], losses: Callable[[], float]) -> float:
    """Loss at a point, its gradient left in `weights`."""
    for weight, value in zip(weights, at, strict=True):
        weight.data.copy_(value)
        weight.grad = None
    return losses()


def _moved(weight: Tensor, centre: Tensor, width: Tensor, stride: float) -> Tensor:
    """One step uphill that stays in the box."""
    slope = weight.grad if weight.grad is not None else weight.detach().mul(0)
    moved = weight.detach() + stride * width * slope.sign()
    return moved.clamp(centre - width, centre + width)
