"""What a trial is run with: its parameters and its `Run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.meters.limit import TimeLimit
from batchfront.objectives.run import Run
from batchfront.study.trials.attributes import (
    SCALED,
    SCHEDULE,
    SCORE_TEST,
    batch_size_of,
    derive_seed,
)
from batchfront.study.trials.kept import root_of

if TYPE_CHECKING:
    from optuna.trial import Trial

    from batchfront.objectives.objective import Objective
    from batchfront.study.plan.plan import Plan
    from batchfront.study.plan.space import SearchSpace


def params_of(trial: Trial, plan: Plan) -> TrialParams:
    """What an objective is called with."""
    return TrialParams.over(
        plan.length,
        batch_size=batch_size_of(trial.params),
        learning_rate=rate_for(trial, plan.space),
        seed=derive_seed(plan.seed, root_of(trial), purpose="trial"),
        device=plan.device,
        score_test=bool(trial.user_attrs.get(SCORE_TEST)),
        extra=plan.space.own(trial.params),
        schedule=trial.user_attrs.get(SCHEDULE),
        diagnostics=plan.diagnostics,
    )


def rate_for(trial: Trial, space: SearchSpace) -> float:
    """The learning rate to train with: the one that was asked for, else the scaled parameter."""
    return float(trial.user_attrs.get(SCALED, space.rate(trial.params)))


def run_of(
    plan: Plan, objective: Objective, *, step_seconds: float | None, measure_memory: bool
) -> Run:
    """The run that one trial reports to; `step_seconds`: as they are told, where that is known."""
    most = plan.budgets.max_trial_seconds
    return Run(
        device=plan.device,
        metric=objective.metric,
        target=plan.target,
        measure_memory=measure_memory,
        compiled=objective.compiled,
        ending=plan.ending,
        limit=None if most is None else TimeLimit(seconds=most, step_seconds=step_seconds),
    )
