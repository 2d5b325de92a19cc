"""What a trial is run with: its parameters, its checkpoint, its `Run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run
from batchfront.study.trials.attributes import (
    ROOT,
    SCALED,
    SCHEDULE,
    SCORE_TEST,
    batch_size_of,
    derive_seed,
)

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.trial import Trial

    from batchfront.objectives.objective import Objective
    from batchfront.storage.checkpoint import Checkpoint
    from batchfront.study.plan.plan import Plan
    from batchfront.study.plan.space import SearchSpace


def params_of(trial: Trial, plan: Plan) -> TrialParams:
    """What an objective is called with."""
    return TrialParams(
        batch_size=batch_size_of(trial.params),
        learning_rate=rate_for(trial, plan.space),
        epochs=plan.epochs,
        seed=derive_seed(plan.seed, _root(trial), purpose="trial"),
        device=plan.device,
        score_test=bool(trial.user_attrs.get(SCORE_TEST)),
        extra=plan.space.own(trial.params),
        schedule=trial.user_attrs.get(SCHEDULE),
        diagnostics=plan.diagnostics,
    )


def rate_for(trial: Trial, space: SearchSpace) -> float:
    """The learning rate to train with: the one that was asked for, else the scaled parameter."""
    return float(trial.user_attrs.get(SCALED, space.rate(trial.params)))


def checkpoint_of(
    trial: Trial, params: TrialParams, plan: Plan, objective: Objective, folder: Path
) -> Checkpoint:
    """The checkpoint that a trial shares with those that take it up on the same hardware."""
    from batchfront.storage.checkpoint import Checkpoint

    identity = {
        "study": plan.study_name,
        "study_id": plan.study_id,
        "trial": _root(trial),
        "params": trial.params,
        "epochs": params.epochs,
        "seed": params.seed,
        "hardware": plan.hardware,
        "compiled": objective.compiled,
    }
    return Checkpoint(folder, identity)


def run_of(plan: Plan, objective: Objective, *, measure_memory: bool) -> Run:
    """The run that one trial reports to."""
    return Run(
        device=plan.device,
        metric=objective.metric,
        target=plan.target,
        measure_memory=measure_memory,
        compiled=objective.compiled,
        ending=plan.ending,
    )


def _root(trial: Trial) -> int:
    """Number of the trial whose run this one goes on with, or its own."""
    return int(trial.user_attrs.get(ROOT, trial.number))
