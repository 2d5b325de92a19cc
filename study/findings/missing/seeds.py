"""How many seeds a batch size lacks at its best learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchfront.study.errors import StudyError
from batchfront.study.findings.claims import learning
from batchfront.study.findings.claims.claim import Runs
from batchfront.study.findings.critical import fit
from batchfront.study.findings.critical.to_target import to_target
from batchfront.study.findings.missing.rates import estimate, tidy
from batchfront.study.findings.rates.best import RateEstimate
from batchfront.study.trials.rows import RunRow
from batchfront.study.trials.yardstick import Yardstick

SEEDS_OF_TRENDS, SEEDS_OF_MEDIANS = learning.MIN_SEEDS, fit.MIN_SEEDS
Seeds = tuple[float, int]  # a learning rate, and how many runs are missing there
Rule = Callable[[Sequence[RunRow], int], Seeds | None]


def none(rows: Sequence[RunRow], size: int) -> Seeds | None:
    """`rates` wants none: every run is a rate of its own."""
    return None


def seeds_of_trends(rows: Sequence[RunRow], size: int) -> Seeds | None:
    """Those that `claims` lacks: completed runs at usable rates of a size."""
    found = estimate(rows, size)
    if not isinstance(found, RateEstimate) or found.at_edge:
        return None
    n = len(Runs(rows=[row for row in rows if row.batch_size == size]).tuned_rows)
    low, high = found.usable
    return tidy(min(max(found.best, low), high)), max(0, SEEDS_OF_TRENDS - n)


def seeds_of_medians(target: float | None, by: Yardstick) -> Rule:
    """Those that `critical-batch` lacks: runs at the best rate of a size, if any gets there."""

    def rule(rows: Sequence[RunRow], size: int) -> Seeds | None:
        try:
            found = to_target([row for row in rows if row.batch_size == size], target, by)
        except StudyError:  # no run of the size has a curve
            return None
        (runs,) = found.sizes
        n = len(runs.to_target)
        return (runs.learning_rate, max(0, SEEDS_OF_MEDIANS - n)) if runs.n_reached else None

    return rule
