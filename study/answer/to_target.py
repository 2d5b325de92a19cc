"""What runs of a batch size took to a target, at rates near the recommended one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from batchfront.study.answer.known import Known
from batchfront.study.answer.model import SizeEstimate
from batchfront.study.trials.rows import RunRow

NEAR = 1.0  # doublings of the learning rate


@dataclass(frozen=True, kw_only=True)
class ToTarget:
    """Medians of runs; infinite where most of them never get there."""

    points: float  # of the curve
    epochs: float | None  # None: nobody knows how many examples one has
    seconds: float | None
    n_runs: int


def to_target_of(estimate: SizeEstimate, known: Known) -> ToTarget | None:
    """What completed runs near the size's best rate took; None where there are none."""
    if known.target is None:
        return None
    target = float(known.yardstick.standard(known.target))
    rows = [_standard(row, known) for row in known.rows if _is_near(row, estimate)]
    reached = [(row, row.points_to(target)) for row in rows if row.curve]
    if not reached:
        return None
    points = [math.inf if n is None else float(n) for _, n in reached]
    return ToTarget(
        points=median(points),
        epochs=_median([_or_never(row.epochs_to(target), n) for row, n in reached]),
        seconds=_median([_seconds(row, n) for row, n in reached]),
        n_runs=len(reached),
    )


def _is_near(row: RunRow, estimate: SizeEstimate) -> bool:
    apart = abs(math.log2(row.learning_rate / estimate.learning_rate))
    return row.batch_size == estimate.batch_size and apart <= NEAR and row.metric is not None


def _standard(row: RunRow, known: Known) -> RunRow:
    standard = known.yardstick.standard
    metric = None if row.metric is None else float(standard(row.metric))
    return replace(row, metric=metric, curve=tuple(float(standard(value)) for value in row.curve))


def _or_never(cost: float | None, points: int | None) -> float | None:
    return math.inf if points is None else cost


def _seconds(row: RunRow, points: int | None) -> float | None:
    if points is None:
        return math.inf
    return None if row.point_seconds is None else points * row.point_seconds


def _median(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return median(known) if len(known) == len(costs) else None
