"""What is asked, and when a batch size counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchfront.study.commands import setting
from batchfront.study.errors import StudyError
from batchfront.study.trials.yardstick import AS_IT_IS, Yardstick

if TYPE_CHECKING:
    from batchfront.study.trials.rows import RunRow

TUNE, SEEDS, SENSITIVITY = "tune", "seeds", "sensitivity"  # purposes of trials
ADAPTIVE = "adaptive"  # as the answer, but its batch grows with the noise
PURPOSES = (TUNE, SEEDS, SENSITIVITY, ADAPTIVE)
FIRST_SEEDS = 5  # run before anybody looks whether it is decided
SHARE = 0.9  # of the seeds that must reach the target
BASELINE = 64
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Question:
    """The question which batch size is the smallest that still reaches the target."""

    target: float | None = None  # of the metric; or:
    within: float | None = None  # of the best that is known
    yardstick: Yardstick = AS_IT_IS
    """By which both are standard values."""
    n_seeds: int = 10
    baseline: int = BASELINE
    sizes: tuple[int, ...]  # ascending: what may be tried, or was
    learning_rates: tuple[float, float]  # searched by the study; tuning may go beyond
    is_recorded: bool = False  # nothing will be run: what is there decides
    hardware: str | None = None  # whose time and memory count; None: any
    fused: Mapping[int, bool] | None = None
    """Sizes of which is known whether their runs are trained together; None: no runs are."""

    def measured_by(self, yardstick: Yardstick) -> Question:
        """The same, of a target in the metric's units, in standard values."""
        target = None if self.target is None else yardstick.standard(self.target)
        within = None if self.within is None else self.within * abs(yardstick.factor)
        return replace(self, target=target, within=within, yardstick=yardstick)

    @property
    def needed(self) -> int:
        """Seeds that must reach the target."""
        return math.ceil(SHARE * self.n_seeds - 1e-9)

    def in_rounds(self, size: int) -> bool:
        """Whether runs of a size come in whole rounds: together ten cost little more than one.

        As with the nearest size that is decided; where none is, its first run will decide it.
        """
        if self.fused is None:
            return False
        near = min(self.fused, key=lambda one: abs(math.log(one / size)), default=None)
        return near is not None and self.fused[near]

    @property
    def start(self) -> int:
        """The size to begin with: the baseline, or the nearest there is."""
        return min(self.sizes, key=lambda size: abs(math.log(size / self.baseline)))


def check_question(target: float | None, within: float | None, n_seeds: int) -> None:
    """Raise StudyError for a question without an answer."""
    if (target is None) == (within is None):
        found = "neither" if target is None else "both"
        both, one = f"{setting('target')} and {setting('within')}", setting("target", 0.95)
        raise StudyError(f"found {found} of {both}, wanted one: {one}")
    if target is not None and not math.isfinite(target):
        raise StudyError(f"target is {target:g}, wanted a number")
    if within is not None and not 0 <= within < math.inf:
        raise StudyError(f"within is {within:g}, wanted a number of at least 0")
    if n_seeds < 2:
        raise StudyError(f"seeds is {n_seeds}, wanted at least 2")


def target_of(question: Question, rows: Sequence[RunRow]) -> float | None:
    """The standard value to reach; None while the best that can be known is not.

    The best known is that of the search, so that it does not move while the ladder is walked;
    where there was no search, that of tuning at the start.
    """
    if question.target is not None or question.within is None:
        return question.target
    searched = [r.metric for r in rows if r.purpose is None and r.feasible and r.metric is not None]
    tuned = [
        r.metric
        for r in rows
        if r.purpose == TUNE
        and r.batch_size == question.start
        and r.feasible
        and r.metric is not None
    ]
    known = searched or tuned
    return max(known) - question.within if known else None


def reaches(row: RunRow, target: float) -> bool:
    """Whether a run completed, within the budgets, at or above the target."""
    return row.feasible and row.metric is not None and row.metric >= target


def share_interval(k: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson interval of a share of which k of n were seen (Biometrika 26, 1934)."""
    from scipy.stats import beta

    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1 - tail, k + 1, n - k))
    return low, high
