"""The learning-rate range test: one short training whose rate grows (arXiv:1506.01186).

The rate grows exponentially, step by step, until the loss explodes. Where the smoothed loss starts
to fall, rates begin to be useful; where it is back above its start, they are no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.device.randomness import seed_everything
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.training.learning_rate import set_rate
from batchfront.objectives.training.optimizer import build_optimizer, step_function

if TYPE_CHECKING:
    from torch import Tensor

    from batchfront.objectives.training.objective import TaskObjective
    from batchfront.objectives.training.source import AnyOrder

LOWEST, HIGHEST = 1e-6, 10.0  # rates of the test
LOWER = 1e-3  # times these, where the loss falls at once
OCTAVE = 2.0
MIN_STEPS, MAX_STEPS = 200, 2000  # of it; one epoch in between
EXPLODED = 4.0  # times the best running mean of the loss
START = 0.1  # share of the steps, at the lowest rates, that says where the loss starts
WINDOW = 0.05  # of all steps, on either side, that smooth the loss
FALLEN = 0.05  # of the way from the start to the best: there the loss has started to fall


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """The result of a learning-rate range test at one batch size, over N steps."""

    batch_size: int
    rates: tuple[float, ...]  # N
    losses: tuple[float, ...]  # N
    smoothed: tuple[float, ...]  # N
    exploded: bool  # before the highest rate
    low: float | None  # None: no rate made the loss fall, or to less than `baseline`
    high: float | None
    baseline: float | None = None  # loss of the best constant predictor, where it is known
    is_cut: bool = False  # rates below the test's own lowest may be useful, too

    @property
    def why_none(self) -> str:
        """Why no range is suggested."""
        best = min(self.smoothed)
        if self.baseline is None or best < self.baseline:
            return f"no learning rate from {self.rates[0]:.2g} on made the loss fall"
        return (
            f"the loss fell to {best:.4g} at best, and the best constant predictor has "
            f"{self.baseline:.4g}"
        )


def range_test(
    objective: TaskObjective,
    *,
    batch_size: int,
    low: float = LOWEST,
    high: float = HIGHEST,
    n_steps: int | None = None,
    seed: int = 0,
    device: str,
) -> RangeTest:
    """Train once while the rate grows from `low` to `high`; default: an epoch of steps.

    Where the loss falls at the lowest rates already, it is trained once more from far lower ones.

    Raises:
        ObjectiveError: the loss is not finite from the start.
    """
    n_train = objective.batch_sizes[1] or batch_size
    n = n_steps or min(max(MIN_STEPS, n_train // batch_size), MAX_STEPS)
    for lowest in (low, LOWER * low):
        rates = [lowest * (high / lowest) ** (step / (n - 1)) for step in range(n)]
        losses = list(_losses(objective, rates, batch_size, seed, device))
        if not losses:
            raise ObjectiveError(f"{objective.name}: the loss of the first batch is not finite")
        found = _found(rates, losses, batch_size, _baseline(objective, batch_size))
        if not found.is_cut:
            break
    return found


def _found(
    rates: Sequence[float], losses: Sequence[float], batch_size: int, baseline: float | None
) -> RangeTest:
    """What a test shows that got as far as the `losses`."""
    smoothed = smooth(losses, max(1, round(WINDOW * len(rates))))
    ends = suggested(rates, smoothed)
    has_learned = baseline is None or min(smoothed) < baseline
    low, high = ends if ends is not None and has_learned else (None, None)
    return RangeTest(
        batch_size=batch_size,
        rates=tuple(rates[: len(losses)]),
        losses=tuple(losses),
        smoothed=tuple(smoothed),
        exploded=len(losses) < len(rates),
        low=low,
        high=high,
        baseline=baseline,
        is_cut=is_cut(rates, smoothed, ends),
    )


def is_cut(
    rates: Sequence[float], smoothed: Sequence[float], ends: tuple[float, float] | None
) -> bool:
    """Whether useful rates may lie below the first one of the test.

    The suggestion begins within an octave of the rates that tell where the loss starts, or there
    is none, and the loss was at its best among these.
    """
    begun = max(1, int(START * len(smoothed)))
    if ends is not None:
        return ends[0] <= OCTAVE * rates[begun - 1]
    return min(range(len(smoothed)), key=lambda index: smoothed[index]) < begun


def _baseline(objective: TaskObjective, batch_size: int) -> float | None:
    """The loss of a batch under the best constant predictor; None where it has none."""
    loss = objective.baseline_of(batch_size)
    return loss if loss is not None and math.isfinite(loss) else None


def smooth(losses: Sequence[float], half: int) -> list[float]:
    """Means over `half` steps on either side, fewer at the ends: without lag."""
    total = [0.0]
    for loss in losses:
        total.append(total[-1] + loss)
    n = len(losses)
    reach = [min(half, index, n - 1 - index) for index in range(n)]
    return [(total[i + r + 1] - total[i - r]) / (2 * r + 1) for i, r in enumerate(reach)]


def suggested(rates: Sequence[float], smoothed: Sequence[float]) -> tuple[float, float] | None:
    """LOW and HIGH, to two digits; None where the loss never falls.

    LOW: the loss has fallen FALLEN of the way from its start to its best. HIGH: after its best it
    is above its start again, or the test ended.
    """
    n_start = max(1, int(START * len(smoothed)))
    start = sum(smoothed[:n_start]) / n_start
    best = min(range(len(smoothed)), key=lambda index: smoothed[index])
    fall = start - smoothed[best]
    if fall <= 0 or best < n_start:
        return None
    after = range(best, len(smoothed))
    end = next((i for i in after if smoothed[i] > start), len(smoothed) - 1)
    falls = (i for i in range(best, -1, -1) if smoothed[i] > start - FALLEN * fall)
    first = next(falls, 0)
    return float(f"{rates[first]:.2g}"), float(f"{rates[end]:.2g}")


def _losses(
    objective: TaskObjective, rates: Sequence[float], batch_size: int, seed: int, device: str
) -> Iterator[float]:
    """The loss of each step, until they explode."""

    seed_everything(seed)
    task = objective.task
    model = task.model().to(device).train()
    optimizer = build_optimizer(task, model, learning_rate=rates[0], device=device)
    update = step_function(optimizer)
    order = objective.order(seed)
    scales = [float(group["lr"]) / rates[0] for group in optimizer.param_groups]
    mean, best = 0.0, math.inf
    keep = 1 - 1 / max(1.0, WINDOW * len(rates))
    for step, (rate, (x, y)) in enumerate(
        zip(rates, _endless(objective, batch_size, order), strict=False), start=1
    ):
        for group, scale in zip(optimizer.param_groups, scales, strict=True):
            set_rate(group, rate * scale)
        optimizer.zero_grad()
        loss = objective.loss(model(x), y)
        value = float(loss.detach())
        mean = keep * mean + (1 - keep) * value
        running = mean / (1 - keep**step)  # or it would start at 0 (arXiv:1412.6980)
        if step > START * len(rates):  # single examples differ: the first few say little
            best = min(best, running)
        if not math.isfinite(value) or running > EXPLODED * best > 0:
            return
        yield value
        loss.backward()
        update()


def _endless(
    objective: TaskObjective, batch_size: int, order: AnyOrder
) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from objective.batches(order, batch_size)
