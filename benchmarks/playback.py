"""Whole studies played from a recorded table: random designs, one stop rule at a time."""

from __future__ import annotations

import contextlib
import copy
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna

from batchfront.objectives.curves.replay import ReplayObjective
from batchfront.objectives.curves.table import RecordedRun, Table
from batchfront.objectives.measurement import Stopped, TrialParams
from batchfront.objectives.meters.course import GuardSettings
from batchfront.objectives.run import Run
from batchfront.study.pruning.decision import RunSoFar, StopRule
from batchfront.study.pruning.pausing import to_go_on
from batchfront.study.trials.attributes import (
    CONSTRAINT,
    CURVE,
    PAUSED,
    SO_FAR,
    VERDICT,
    batch_size_of,
)
from batchfront.study.trials.kept import root_of
from batchfront.study.trials.outcome import GRADES, on_grid
from batchfront.study.trials.paused import is_paused
from batchfront.study.trials.sound import sound_trials
from batchfront.study.workers.retry import thaw

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from batchfront.objectives.curves.table import Key

Kept = dict[int, dict[str, Any]]  # by the trial that a run began with: what it goes on from
SPACE = {
    "batch_size": optuna.distributions.IntDistribution(1, 2**20, log=True),
    "learning_rate": optuna.distributions.FloatDistribution(1e-6, 1e3, log=True),
}
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


def play(
    table: Table, design: list[Key], rule: StopRule, *, guarded: bool, between: bool = False
) -> list[Played]:
    """Run the design's trials one after the other as a worker would, then those that are to go on.

    A run that went on is one still, with all of its seconds. `between`: runs that would not be
    paused any more, by what is known after each trial, go on at once.
    """
    player = _Player(table, rule, name=f"{table.task} {design[0]}", guarded=guarded)
    for key in design:
        player.begin(key)
        while between and (due := pardoned(table, player.study, rule)):
            player.go_on(due[0])
    while due := to_go_on(rule, player.study, sound_trials(player.study)):
        player.go_on(due[0])
    return list(player.played.values())


class _Player:
    """Plays runs in one study, and knows what became of each."""

    def __init__(self, table: Table, rule: StopRule, *, name: str, guarded: bool) -> None:
        self.study = optuna.create_study(
            study_name=name,  # Hyperband draws its brackets from it
            directions=["maximize", "minimize", "minimize"],
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        self.played: dict[int, Played] = {}  # by the trial that a run began with
        self._table, self._rule, self._guarded = table, rule, guarded
        self._objective = ReplayObjective(table, name=table.task)
        self._seeds: dict[int, int] = {}  # by that trial, too
        self._kept: Kept = {}

    def begin(self, key: Key) -> None:
        """Play a run of the design."""
        size, rate, seed = key
        self.study.enqueue_trial({"batch_size": size, "learning_rate": rate})
        trial = self.study.ask(SPACE)
        self._seeds[trial.number] = self._table.seeds(size, rate).index(seed)
        self._play(trial)

    def go_on(self, paused: FrozenTrial) -> None:
        """Go on with a paused one."""
        thaw(self.study, paused)
        self._play(self.study.ask())

    def _play(self, trial: optuna.Trial) -> None:
        first = root_of(trial)
        self.played[first] = play_trial(
            self._objective,
            self.study,
            trial,
            self._rule,
            seed=self._seeds[first],
            guarded=self._guarded,
            kept=self._kept,
        )


def pardoned(table: Table, study: optuna.Study, rule: StopRule) -> list[FrozenTrial]:
    """The paused runs that the rule would not pause any more."""
    found = []
    for paused in filter(is_paused, sound_trials(study)):
        size, curve = batch_size_of(paused.params), tuple(paused.user_attrs[CURVE])
        so_far = _so_far(table, size, curve, is_kept=True)
        if rule.judge(study, copy.deepcopy(paused), so_far) is None:
            found.append(paused)
    return found


def _so_far(table: Table, size: int, curve: tuple[float, ...], *, is_kept: bool) -> RunSoFar:
    """A recorded run after an epoch."""
    return RunSoFar(
        batch_size=size,
        curve=curve,
        train_seconds=table.epoch_seconds(size) * table.epochs,
        peak_memory_bytes=table.peak_memory_bytes(size),
        share_done=len(curve) / table.epochs,
        is_kept=is_kept,
    )


def play_trial(
    objective: ReplayObjective,
    study: optuna.Study,
    trial: optuna.Trial,
    rule: StopRule,
    *,
    seed: int,
    guarded: bool,
    kept: Kept | None = None,
) -> Played:
    """Run and tell one trial as a worker would; `kept`: states of runs, where they can go on."""
    table = objective.table
    size, rate = batch_size_of(trial.params), trial.params["learning_rate"]
    recorded = table.nearest(size, rate, seed)
    run = Run(
        metric=objective.metric,
        measure_memory=False,
        guard=GuardSettings() if guarded else UNGUARDED,
    )
    asking = Asking(table, study, trial, rule, run, recorded.batch_size, kept)
    run.should_stop = asking
    if kept is not None:
        run.keep = asking.keep
        if root_of(trial) in kept:
            run.restore(kept[root_of(trial)])
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
        if asking.is_paused:
            trial.set_user_attr(PAUSED, len(result.metric_curve))
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return Played(run=recorded, completed=completed, train_seconds=result.train_seconds)


class Asking:
    """Asks a rule after every epoch; a run that is paused is kept first."""

    def __init__(
        self,
        table: Table,
        study: optuna.Study,
        trial: optuna.Trial,
        rule: StopRule,
        run: Run,
        size: int,
        kept: Kept | None,
    ) -> None:
        self._table, self._study, self._trial, self._rule = table, study, trial, rule
        self._run, self._size, self._kept = run, size, kept
        self._pausing: Stopped | None = None
        self.is_paused = False

    def __call__(self, curve: tuple[float, ...]) -> Stopped | None:
        table, size = self._table, self._size
        self._trial.set_user_attr(CURVE, on_grid(curve, table.epochs))
        decision = self._rule.judge(
            self._study,
            self._trial,
            _so_far(table, size, curve, is_kept=self._kept is not None),
        )
        if decision is None or len(curve) >= table.epochs:
            return None
        stopped = Stopped(decision.verdict, decision.reason)
        if not decision.pauses:
            return stopped
        self._pausing, self._run.asked_to_keep = stopped, True
        return None

    def keep(self, state: dict[str, Any]) -> None:
        """Keep the state of a run that is paused, and end it."""
        if self._kept is not None and self._pausing is not None:
            self._kept[root_of(self._trial)] = state
            self._run.latched, self.is_paused = self._pausing, True


def final_metric(table: Table, run: RecordedRun) -> float:
    """The metric of the last epoch; -inf for a run that went non-finite."""
    whole = run.is_finite and len(run.val_accuracy) == table.epochs
    return run.val_accuracy[-1] if whole else -math.inf
