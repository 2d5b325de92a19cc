"""Whole studies played from a recorded table: random designs, one stop rule at a time."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna

from batchfront.objectives.curves.replay import ReplayObjective
from batchfront.objectives.curves.table import RecordedRun, Table
from batchfront.objectives.measurement import Stopped, TrialParams
from batchfront.objectives.meters.course import GuardSettings
from batchfront.objectives.run import Run
from batchfront.study.pruning.decision import RunSoFar, StopRule
from batchfront.study.trials.attributes import CONSTRAINT, CURVE, SO_FAR, VERDICT, batch_size_of
from batchfront.study.trials.outcome import GRADES, on_grid

if TYPE_CHECKING:
    from batchfront.objectives.curves.table import Key

UNGUARDED = GuardSettings(patience=10**9)  # only a non-finite loss ends a run


@dataclass(frozen=True, kw_only=True)
class Played:
    """What became of one run of a design."""

    run: RecordedRun
    completed: bool
    train_seconds: float  # spent


def random_design(table: Table, *, n_trials: int, seed: int) -> list[Key]:
    """Points of the grid with a seed each, drawn with replacement."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    return draw.choices(sorted(table.runs), k=n_trials)


def play(table: Table, design: list[Key], rule: StopRule, *, guarded: bool) -> list[Played]:
    """Run the design's trials one after the other as a worker would."""
    objective = ReplayObjective(table, name=table.task)
    study = optuna.create_study(
        study_name=f"{table.task} {design[0]}",  # Hyperband draws its brackets from it
        directions=["maximize", "minimize", "minimize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    return [_one(table, objective, study, rule, key, guarded) for key in design]


def _one(
    table: Table,
    objective: ReplayObjective,
    study: optuna.Study,
    rule: StopRule,
    key: Key,
    guarded: bool,
) -> Played:
    size, rate, seed = key
    study.enqueue_trial({"batch_size": size, "learning_rate": rate})
    trial = study.ask(
        {
            "batch_size": optuna.distributions.IntDistribution(1, 2**20, log=True),
            "learning_rate": optuna.distributions.FloatDistribution(1e-6, 1e3, log=True),
        }
    )
    seed = table.seeds(size, rate).index(seed)
    return play_trial(objective, study, trial, rule, seed=seed, guarded=guarded)


def play_trial(
    objective: ReplayObjective,
    study: optuna.Study,
    trial: optuna.Trial,
    rule: StopRule,
    *,
    seed: int,
    guarded: bool,
) -> Played:
    """Run and tell one trial as a worker would."""
    table = objective.table
    size, rate = batch_size_of(trial.params), trial.params["learning_rate"]
    recorded = table.nearest(size, rate, seed)
    run = Run(
        metric=objective.metric,
        measure_memory=False,
        guard=GuardSettings() if guarded else UNGUARDED,
        should_stop=_asking(table, study, trial, rule, recorded.batch_size),
    )
    with run, contextlib.suppress(Stopped):
        objective(
            TrialParams(
                batch_size=size, learning_rate=rate, epochs=table.epochs, seed=seed, device="cpu"
            ),
            run,
        )
    result = run.result()
    completed = run.latched is None
    whole = table.epoch_seconds(recorded.batch_size) * table.epochs
    memory = float(table.peak_memory_bytes(recorded.batch_size))
    trial.set_user_attr(VERDICT, result.verdict.value)
    trial.set_constraint(CONSTRAINT, 0.0 if completed else GRADES[result.verdict])
    if completed:
        study.tell(trial, (result.metric or 0.0, whole, memory))
    else:
        trial.set_user_attr(SO_FAR, [result.metric, whole, memory])
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return Played(run=recorded, completed=completed, train_seconds=result.train_seconds)


def _asking(
    table: Table, study: optuna.Study, trial: optuna.Trial, rule: StopRule, size: int
) -> Callable[[tuple[float, ...]], Stopped | None]:
    def ask(curve: tuple[float, ...]) -> Stopped | None:
        trial.set_user_attr(CURVE, on_grid(curve, table.epochs))
        decision = rule.judge(
            study,
            trial,
            RunSoFar(
                batch_size=size,
                curve=curve,
                train_seconds=table.epoch_seconds(size) * table.epochs,
                peak_memory_bytes=table.peak_memory_bytes(size),
                share_done=len(curve) / table.epochs,
            ),
        )
        if decision is None or len(curve) >= table.epochs:
            return None
        return Stopped(decision.verdict, decision.reason)

    return ask


def final_metric(table: Table, run: RecordedRun) -> float:
    """The metric of the last epoch; -inf for a run that went non-finite."""
    whole = run.is_finite and len(run.val_accuracy) == table.epochs
    return run.val_accuracy[-1] if whole else -math.inf
