"""What a user may set of the limits of a run."""

from __future__ import annotations

from dataclasses import dataclass

from batchfront.objectives.number import FINITE, Number
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.setting import SEARCHING, setting

SECONDS = Number(low=1e-9, high=1e9)


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """What a run may cost and must reach."""

    target: float | None = setting(
        "validation metric for epochs, examples, steps or tokens to target",
        group="budgets",
        verbs="run",
        number=FINITE,
    )
    max_memory: int | None = setting(
        "budget for a run's memory, like 2GiB: on a GPU for all that the device loses to it",
        group="budgets",
        verbs="run smallest probe",
        kind="bytes",
    )
    max_seconds: float | None = setting(
        "budget for a run's training time",
        group="budgets",
        verbs=SEARCHING,
        number=SECONDS,
    )
    max_trial_seconds: float | None = setting(
        "training time after which a run is ended, and infeasible",
        group="budgets",
        verbs=SEARCHING,
        number=SECONDS,
    )
    min_metric: float | None = setting(
        "a run that ends below it is infeasible",
        group="budgets",
        verbs="run",
        number=FINITE,
    )
    max_metric: float | None = setting(
        "a run that ends above it is infeasible: of what is minimized",
        group="budgets",
        verbs="run",
        number=FINITE,
    )
    min_accuracy: float | None = setting(
        "the older name of --min-metric", group="budgets", verbs="run", number=FINITE
    )

    def budgets(self) -> Budgets:
        """The limits the user named."""
        return Budgets(
            max_memory_bytes=self.max_memory,
            max_seconds=self.max_seconds,
            max_trial_seconds=self.max_trial_seconds,
            min_metric=self.min_accuracy if self.min_metric is None else self.min_metric,
            max_metric=self.max_metric,
        )
