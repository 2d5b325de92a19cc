"""How many seeds a batch size lacks at its best learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchfront.study.errors import StudyError
from batchfront.study.findings.claims import shapes
from batchfront.study.findings.claims.claim import is_usable
from batchfront.study.findings.critical import fit
from batchfront.study.findings.critical.to_target import to_target
from batchfront.study.findings.missing.rates import tidy
from batchfront.study.findings.rates.best import NotShown, RateEstimate
from batchfront.study.trials.rows import RunRow
from batchfront.study.trials.yardstick import Yardstick

SEEDS_OF_TRENDS, SEEDS_OF_MEDIANS = shapes.MIN_SEEDS, fit.MIN_SEEDS
Seeds = tuple[float, int]  # a learning rate, and how many runs are missing there
Found = RateEstimate | NotShown  # what the runs of a size say of its best rate
Rule = Callable[[Sequence[RunRow], Found], Seeds | None]  # of the runs of one size


def none(rows: Sequence[RunRow], found: Found) -> Seeds | None:
    """`rates` wants none: every run is a rate of its own."""
    return None


def seeds_of_trends(rows: Sequence[RunRow], found: Found) -> Seeds | None:
    """Those that `claims` lacks: completed runs at usable rates."""
    if not isinstance(found, RateEstimate) or found.at_edge:
        return None
    done = [row for row in rows if row.finished and row.metric is not None]
    n = sum(is_usable(row.learning_rate, found) for row in done)
    low, high = found.usable
    return tidy(min(max(found.best, low), high)), max(0, SEEDS_OF_TRENDS - n)


def seeds_of_medians(target: float | None, by: Yardstick) -> Rule:
    """Those that `critical-batch` lacks: runs at the best rate, if any gets to the target."""

    def rule(rows: Sequence[RunRow], found: Found) -> Seeds | None:
        try:
            (runs,) = to_target(rows, target, by).sizes
        except StudyError:  # no run of the size has a curve
            return None
        n = len(runs.to_target)
        return (runs.learning_rate, max(0, SEEDS_OF_MEDIANS - n)) if runs.n_reached else None

    return rule
