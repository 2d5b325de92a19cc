"""A trial that is ours, with all that was worked out under the lock when it was claimed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import Measurement, TrialParams, Verdict
from batchfront.study.plan.limits import Excuse, Limits
from batchfront.study.trials.costs import Costs, SizeCost
from batchfront.study.trials.growing import cost_of, first_steps

if TYPE_CHECKING:
    from optuna.trial import Trial

    from batchfront.objectives.training.schedules import Growth
    from batchfront.storage.checkpoint import Checkpoint
    from batchfront.study.probes.combinations import Foresight


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The next trial of a worker; nothing of it is worked out again."""

    trial: Trial
    params: TrialParams
    purpose: str | None  # of a trial that a question asked for
    goes_on: bool  # with a run that was paused
    is_probed: bool  # the probes of sizes speak of its other parameters, too
    costs: Costs  # of sizes, as known when it was claimed
    limits: Limits  # likewise
    growth: Growth | None  # of the batch size within a run
    checkpoint: Checkpoint | None
    foresight: Foresight | None = None  # of what no probe knows

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number

    @cached_property
    def cost(self) -> SizeCost | None:
        """The cost that probes tell of a run that starts at this size; None where they do not."""
        return self.limits.runs.get(self.params.batch_size) if self.is_probed else None

    @cached_property
    def known(self) -> SizeCost | None:
        """The same, where the whole run is known to take so long."""
        return None if self.params.schedule is not None else _timed(self.cost)

    @property
    def step_seconds(self) -> float | None:
        """What each of its steps is told to take; None where nobody knows, or its batch grows."""
        return None if self.growth is not None or self.known is None else self.known.step_seconds

    @property
    def is_told(self) -> bool:
        """Whether probes say what the run will be told, wherever its batch size may grow to."""
        sizes = [] if self.growth is None else self.growth.reachable(self.params.batch_size)
        grown = [self.costs.get(size) for size in sizes]
        return self.known is not None and all(
            cost is not None and cost.step_seconds for cost in grown
        )

    @property
    def fits(self) -> bool:
        """Whether memory for such a run has been there: where it was probed, or completed."""
        if not self.is_probed or self.params.schedule is not None:
            return False
        return self.is_told or self.params.batch_size in self.limits.completed

    @cached_property
    def excuse(self) -> Excuse | None:
        """Why it cannot run: its size is known not to fit, or to break a budget.

        Of a combination that no probe knows it is predicted, which takes a moment.
        """
        if self.is_probed:
            return self.limits.excuse(self.params.batch_size)
        return None if self.foresight is None else self.foresight.excuse(self.params, self.limits)

    def cost_of(self, measured: Measurement) -> SizeCost | None:
        """The known cost of what the run turned out to be: its batch size may have grown.

        Of the steps that it took, where it completed.
        """
        if not self.is_probed:
            return None
        phases = measured.phases
        if measured.verdict is Verdict.COMPLETED:
            phases = first_steps(phases, measured.steps)
        size = self.params.batch_size
        return _timed(cost_of(phases, self.costs) if phases else self.costs.get(size))

    def sizes_of(self, measured: Measurement) -> set[int]:
        """The batch sizes that the run trained with."""
        grown = {phase.batch_size for phase in measured.phases}
        return grown or {self.params.batch_size}

    def forget(self) -> None:
        """Remove what is kept of the run, once it is told."""
        if self.checkpoint is not None:
            self.checkpoint.remove()


def _timed(cost: SizeCost | None) -> SizeCost | None:
    return cost if cost is not None and cost.train_seconds is not None else None
