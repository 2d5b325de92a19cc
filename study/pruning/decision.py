"""What a stop rule is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from batchfront.objectives.measurement import Verdict
from batchfront.objectives.metric import ACCURACY, Metric
from batchfront.study.trials.outcome import MAX_GRADE, MIN_GRADE

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial


@dataclass(frozen=True, kw_only=True)
class RunSoFar:
    """A run after an epoch.

    What a run of its size costs is known from a probe, or else at least what it has cost so far:
    either way no more than it will have cost in the end.
    """

    batch_size: int
    curve: tuple[float, ...]  # metric after each epoch, the newest last
    train_seconds: float  # of the whole run, or so far
    peak_memory_bytes: float
    share_done: float  # of its training steps
    is_whole_cost: bool = True  # train_seconds are those of the whole run
    tells_best: bool = False  # epoch, and not the last one
    metric: Metric = ACCURACY
    is_kept: bool = False  # as it is now, so that it can go on later

    @property
    def seconds_left(self) -> float:
        """What it still has to train; where only what it has cost so far is known, at that pace."""
        if self.is_whole_cost:
            return self.train_seconds * (1 - self.share_done)
        return self.train_seconds * (1 / self.share_done - 1) if self.share_done else 0.0

    @property
    def reached(self) -> float:
        """The metric that it would be told with if it ended now."""
        best = max(self.curve, key=self.metric.good)
        return best if self.tells_best else self.curve[-1]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision to stop a run, and why."""

    verdict: Verdict  # dominated or pruned
    reason: str
    shortfall: float  # how far below what it should have reached, in units of the metric
    pauses: bool = False  # the run: it is kept, and may go on when more is known

    @property
    def grade(self) -> float:
        """The grade of the constraint that a stopped run violates, in (0, 1]."""
        return min(max(self.shortfall, MIN_GRADE), MAX_GRADE)


class StopRule(Protocol):
    """Asked after every epoch of a run, also the last, when nothing can be stopped any more."""

    def judge(self, study: Study, trial: Trial, progress: RunSoFar) -> Decision | None:
        """The decision to stop the run; None where it goes on."""


class NeverStop:
    """--pruner none."""

    def judge(self, study: Study, trial: Trial, progress: RunSoFar) -> None:
        """Goes on."""
