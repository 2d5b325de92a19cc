"""What a search has spent of its budget, and what a run may cost that it still affords."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchfront.study.trials.attributes import (
    batch_size_of,
    has_batch_size,
    is_finished,
    trained_seconds,
)
from batchfront.study.trials.hardware import all_probing_seconds

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from batchfront.study.plan.goal import Goal
    from batchfront.study.plan.limits import Limits


@dataclass(frozen=True, kw_only=True)
class Spending:
    """A budget, and what is left of it."""

    budget: float  # seconds
    spent: float  # by trials that have ended, and by probes where they count
    reserved: float  # for those that run
    overhead: float = 1.0  # seconds that a second of training costs, where everything counts

    @property
    def left(self) -> float:
        """What no trial has claimed, in seconds of training."""
        return max(0.0, self.budget - self.spent - self.reserved) / self.overhead

    def planned(self, limits: Limits) -> Limits:
        """The limits of the sizes that it can afford while all of the budget is there."""
        return replace(limits, affordable_seconds=self.budget / self.overhead)

    def within(self, limits: Limits) -> Limits:
        """The limits of the sizes that it can still afford."""
        return replace(limits, affordable_seconds=self.left)


def spending_of(
    study: Study, trials: Sequence[FrozenTrial], goal: Goal, limits: Limits
) -> Spending | None:
    """What the trials of a study have spent of the budget; None where there is none."""
    if goal.budget is None:
        return None
    ended = [trial for trial in trials if is_finished(trial)]
    running = [trial for trial in trials if trial.state.name == "RUNNING"]
    training = sum(map(trained_seconds, ended))
    spent, overhead = training, 1.0
    if goal.is_total:
        everything = sum(map(_took, ended))
        overhead = max(1.0, everything / training) if training > 0 else 1.0
        spent = everything + all_probing_seconds(study)
    reserved = overhead * sum(_expected(trial, limits) for trial in running)
    return Spending(budget=goal.budget, spent=spent, reserved=reserved, overhead=overhead)


def _took(trial: FrozenTrial) -> float:
    """Seconds from its start to its end; one that went on elsewhere has trained there, too."""
    trained = trained_seconds(trial)
    if trial.datetime_start is None or trial.datetime_complete is None:
        return trained
    return max(trained, (trial.datetime_complete - trial.datetime_start).total_seconds())


def _expected(trial: FrozenTrial, limits: Limits) -> float:
    """Seconds that a trial which runs is known to train."""
    cost = limits.runs.get(batch_size_of(trial.params)) if has_batch_size(trial.params) else None
    return 0.0 if cost is None or cost.train_seconds is None else cost.train_seconds
