"""Which batch sizes are known not to run: too large for the memory, or over a budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import all_memory_bytes
from batchfront.objectives.measurement import Verdict
from batchfront.study.plan.budgets import Budgets
from batchfront.study.trials.attributes import (
    HARDWARE,
    PREDICTED,
    SCHEDULE,
    UNPROBED,
    VERDICT,
    batch_size_of,
)
from batchfront.study.trials.costs import Costs
from batchfront.study.trials.growing import whole_runs
from batchfront.study.trials.outcome import OVER_BUDGET_GRADE, ended_early

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from batchfront.objectives.training.schedules import Growth
    from batchfront.study.plan.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Excuse:
    """Why a trial is told without running, or instead of its result."""

    verdict: Verdict
    grade: float
    reason: str
    memory_bytes: int | None = None  # that a combination is predicted to take


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is known on one hardware."""

    costs: Costs  # of steps at one size
    budgets: Budgets
    failed_size: int | None  # the smallest that ran out of memory
    device_bytes: int
    growth: Growth | None = None  # of the batch size within a run
    completed: frozenset[int] = frozenset()  # sizes that whole runs have been finished at
    stops_early: bool = False  # runs may end before their last step: time is not known beforehand
    affordable_seconds: float | None = None  # of a run, where the search has a budget

    @cached_property
    def runs(self) -> Costs:
        """What whole runs cost, by the size they start with."""
        return whole_runs(self.costs, self.growth)

    def excuse(self, size: int) -> Excuse | None:
        """Why `size` must not run; None when it may."""
        failed = self.failed_size
        if failed is not None and (
            size == failed or (size > failed and size not in self.completed)
        ):
            return self.out_of_memory(size, f"batch size {failed} ran out of memory")
        cost = self.runs.get(size)
        if cost is None:
            return None
        if cost.cannot_fit:
            return self.out_of_memory(size, f"batch size {size} does not fit, says its probe")
        overshoot = self.known_budgets.overshoot_of(cost, self.runs)
        if overshoot > 0:
            return Excuse(
                verdict=Verdict.OVER_BUDGET,
                grade=OVER_BUDGET_GRADE + overshoot,
                reason=f"batch size {size} is known to exceed a budget by {overshoot:.0%}",
            )
        return None

    @property
    def known_budgets(self) -> Budgets:
        """The budgets that a size is known to keep or to break before it runs."""
        return self.budgets.beforehand(stops_early=self.stops_early)

    def can_afford(self, size: int, *, trained: float = 0.0) -> bool:
        """Whether the budget of the search has room for a run of that size, as far as is known.

        `trained`: seconds of it that are spent already.
        """
        cost = self.runs.get(size)
        seconds = None if cost is None else cost.train_seconds
        most = self.affordable_seconds
        return most is None or seconds is None or seconds - trained <= most

    def out_of_memory(self, size: int, reason: str) -> Excuse:
        """Graded by how far over the memory is, or else by how far above the sizes that run."""
        cost = self.costs.get(size)
        predicted = cost.memory if cost is not None else None
        over = predicted / self.device_bytes - 1 if predicted is not None else 0.0
        if over <= 0:
            ran = [c.batch_size for c in self.costs.values() if c.step_seconds is not None]
            smaller = [s for s in ran if s < size and (self.failed_size or size) > s]
            over = math.log2(size / max(smaller)) if smaller else 1.0
        return Excuse(verdict=Verdict.OUT_OF_MEMORY, grade=OVER_BUDGET_GRADE + over, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What trials on one hardware say about batch sizes."""

    failed: int | None = None  # the smallest that ran out of memory
    completed: frozenset[int] = frozenset()
    ended_early: bool = False  # some run did

    def and_of(self, trials: Sequence[FrozenTrial], hardware: str) -> Sizes:
        """What more trials say, too."""
        lost = [self.failed, smallest_out_of_memory(trials, hardware)]
        return Sizes(
            failed=min((size for size in lost if size is not None), default=None),
            completed=self.completed | _completed_sizes(trials, hardware),
            ended_early=self.ended_early or any(map(ended_early, trials)),
        )


def known_limits(trials: Iterable[FrozenTrial], plan: Plan, costs: Costs) -> Limits:
    """What the trials so far and the probes say."""
    return limits_of(Sizes().and_of(list(trials), plan.hardware), plan, costs)


def limits_of(sizes: Sizes, plan: Plan, costs: Costs) -> Limits:
    """What is known of sizes, and the probes, say."""
    return Limits(
        costs=costs,
        budgets=plan.budgets,
        failed_size=sizes.failed,
        device_bytes=plan.device_bytes or all_memory_bytes(plan.device),
        growth=plan.growth,
        completed=sizes.completed,
        stops_early=plan.ending.early_stopping is not None or sizes.ended_early,
    )


def _completed_sizes(trials: Iterable[FrozenTrial], hardware: str) -> set[int]:
    """Sizes of whole runs on that hardware, as their probe would have been."""
    return {
        batch_size_of(trial.params)
        for trial in trials
        if trial.state.name == "COMPLETE"
        and not trial.user_attrs.get(UNPROBED)
        and SCHEDULE not in trial.user_attrs
        and trial.user_attrs.get(HARDWARE) == hardware
    }


def smallest_out_of_memory(trials: Iterable[FrozenTrial], hardware: str) -> int | None:
    """The smallest batch size that really ran out of memory on that hardware."""
    sizes = [
        batch_size_of(trial.params)
        for trial in trials
        if trial.user_attrs.get(VERDICT) == Verdict.OUT_OF_MEMORY.value
        and not trial.user_attrs.get(UNPROBED)
        and not trial.user_attrs.get(PREDICTED)
        and SCHEDULE not in trial.user_attrs  # it grew, nobody knows how far
        and trial.user_attrs.get(HARDWARE) == hardware
    ]
    return min(sizes, default=None)
