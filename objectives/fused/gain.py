"""By how much steps of a group are quicker than ordinary steps: measured, never assumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from batchfront.objectives.device.randomness import held_states, restore_random_states
from batchfront.objectives.fused.graph import Traced
from batchfront.objectives.fused.sample import RATES, SEEDS, STEPS, batches_of, sample_of
from batchfront.objectives.fused.setting import Setting
from batchfront.objectives.meters.clock import synchronizer
from batchfront.objectives.training.optimizer import step_function

if TYPE_CHECKING:
    Step = Callable[[int], None]  # with a batch of so many, from 0

LEAST_GAIN = 1.3  # for which runs are to be trained together
CLEAR = 1.5  # times as much, or as little: what more turns would hardly change
SECONDS = 0.05  # of steps, about: of both kinds together
WARMING = 2  # steps: TorchScript rewrites a step at its first ones
LEAST_TURNS, MOST_TURNS = 4, 80


def gain(step: Traced, setting: Setting) -> float:
    """Seconds of ordinary steps over those of a group's step, per run; of the quickest turns.

    There are few turns where it is clear whether that is LEAST_GAIN. On a CPU these are CPU
    seconds, which other work on the machine does not lengthen much.
    """
    device = setting.objective.device
    states = held_states(device)
    try:
        ordinary, together = _ordinary(setting), _together(step, setting)
    finally:
        restore_random_states(states, device)
    clock = time.process_time if device.startswith("cpu") else time.perf_counter
    wait = synchronizer(device)

    def seconds(take: Step, n: int) -> float:
        wait()
        since = clock()
        take(n % STEPS)
        wait()
        return clock() - since

    for n in range(WARMING):
        ordinary(n), together(n)
    turns: list[tuple[float, float]] = []
    while len(turns) < LEAST_TURNS or (
        len(turns) < MOST_TURNS
        and sum(map(sum, turns)) < SECONDS
        and not _is_clear(turns, step.width)
    ):
        turns.append((seconds(ordinary, len(turns)), seconds(together, len(turns))))
    return _ratio(turns, step.width)


def _is_clear(turns: Sequence[tuple[float, float]], width: int) -> bool:
    """Whether more turns would hardly change the decision. A coarse clock may show nothing yet."""
    ratio = _ratio(turns, width) / LEAST_GAIN
    return all(map(min, zip(*turns, strict=True))) and not 1 / CLEAR < ratio < CLEAR


def _ratio(turns: Sequence[tuple[float, float]], width: int) -> float:
    """The gain as the quickest turns have it."""
    each = list(zip(*turns, strict=True))
    best = [min(found) for found in each]
    if not all(best):  # by a coarse clock
        best = [sum(found) for found in each]
    return width * best[0] / best[1] if best[1] else 0.0


def _ordinary(setting: Setting) -> Step:
    model, optimizer = setting.built(SEEDS[0], RATES[0])
    x, y = batches_of(setting, 0)
    parameters, move = list(model.parameters()), step_function(optimizer)
    loss_of = setting.objective.loss.scalar

    def take(n: int) -> None:
        for parameter in parameters:
            parameter.grad = None
        loss_of(model(x[n]), y[n]).backward()
        move()

    return take


def _together(step: Traced, setting: Setting) -> Step:
    import torch

    sample = sample_of(setting, step.width)

    def take(n: int) -> None:
        now = sample.rows[n], sample.x[n], sample.y[n]
        with torch.no_grad():
            step.take(sample.places.tensors, *now, sample.generators)

    return take
