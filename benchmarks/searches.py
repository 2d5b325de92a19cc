"""Searches played from tables: of ours, of Optuna's samplers, and of other houses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.objectives.curves.table import Table
from batchfront.study.plan.plan import OF_THE_FRONT, PAUSING
from batchfront.study.plan.space import SearchSpace
from batchfront.study.pruning.pausing import to_go_on
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.attributes import OBJECTIVES, derive_seed
from batchfront.study.trials.kept import root_of
from batchfront.study.trials.sound import sound_trials
from batchfront.study.workers.retry import thaw
from benchmarks.as_loss import TOLD, judged_by, objective_of
from benchmarks.playback import Kept, Played, pardoned, play_trial
from benchmarks.pruning import BETWEEN, make_rule
from benchmarks.score import Score

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from batchfront.study.plan.limits import Limits
    from batchfront.study.plan.past import PastRuns

OURS = "cost-aware"
MAX_TRIALS = 200
SLOW = {"gp": 60, "botorch": 30, "neps-primo": 100}  # trials: an ask takes seconds


class Playback:
    """One search of an Optuna sampler in memory, run by run."""

    def __init__(
        self,
        table: Table,
        *,
        name: str,
        pruner: str,
        seed: int,
        told: str = TOLD[0],
        limits: Callable[[optuna.Study], Limits] | None = None,
        past: Sequence[PastRuns] = (),
    ) -> None:
        """What ours knows: `limits` of costs, default: all, as from a probe; `past`: studies."""
        import optuna

        rates = [rate for size in table.batch_sizes for rate in table.learning_rates(size)]
        self.space = SearchSpace(
            batch_sizes=tuple(table.batch_sizes),
            learning_rates=(min(rates), max(rates)),
        )
        self._objective = objective_of(table, told)
        metric = self._objective.metric
        self.study = optuna.create_study(
            study_name=f"{table.task} {seed}",
            directions=[metric.direction, "minimize", "minimize"],
            sampler=sampler_of(name, table, self.space, seed, limits, past),
        )
        if told != TOLD[0]:
            with quiet_optuna():
                self.study.set_metric_names([metric.name, *OBJECTIVES[1:]])
        self._table = table
        self._rule = make_rule(table, pruner, seed=seed)
        self._seed, self._guarded = seed, pruner in (BETWEEN, *OF_THE_FRONT)
        self._between = pruner == BETWEEN
        self._kept: Kept | None = {} if pruner in (BETWEEN, PAUSING) else None
        self._spent: dict[int, float] = {}  # seconds, by the trial that a run began with
        self.ask_seconds = 0.0

    def next(self) -> Played:
        """Ask for a run, play it and tell it."""
        before = time.perf_counter()
        trial = self.study.ask(self.space.distributions())
        self.ask_seconds += time.perf_counter() - before
        return self._play(trial)

    def goes_on(self) -> Iterator[Played]:
        """Paused runs that go on once the search is over, with the seconds that this takes more."""
        return self._go_on(lambda: to_go_on(self._rule, self.study, sound_trials(self.study)))

    def goes_on_between(self) -> Iterator[Played]:
        """Those that would not be paused any more, where runs go on before the search is over."""
        return self._go_on(
            lambda: pardoned(self._table, self.study, self._rule) if self._between else []
        )

    def _go_on(self, found: Callable[[], Sequence[FrozenTrial]]) -> Iterator[Played]:
        while due := found():
            thaw(self.study, due[0])
            trial = self.study.ask(self.space.distributions())
            before = self._spent[root_of(trial)]
            played = self._play(trial)
            yield replace(played, train_seconds=played.train_seconds - before)

    def _play(self, trial: optuna.Trial) -> Played:
        first = root_of(trial)
        played = play_trial(
            self._objective,
            self.study,
            trial,
            self._rule,
            seed=derive_seed(self._seed, first, purpose="trial"),
            guarded=self._guarded,
            kept=self._kept,
        )
        self._spent[first] = played.train_seconds
        return played


def play_study(
    table: Table,
    *,
    name: str,
    pruner: str,
    seed: int,
    told: str = TOLD[0],
    max_trials: int = MAX_TRIALS,
) -> Score:
    """One search, until the budget is spent; then its paused runs go on."""
    search = Playback(table, name=name, pruner=pruner, seed=seed, told=told)
    score = Score(table=judged_by(table, told))
    while not score.is_over(min(SLOW.get(name, max_trials), max_trials)):
        score.add(search.next())
        for played in search.goes_on_between():
            score.add(played, is_new=False)
        score.ask_seconds = search.ask_seconds
    for played in search.goes_on():
        score.add(played, is_new=False)
    return score


def sampler_of(
    name: str,
    table: Table,
    space: SearchSpace,
    seed: int,
    limits: Callable[[optuna.Study], Limits] | None = None,
    past: Sequence[PastRuns] = (),
) -> optuna.samplers.BaseSampler:
    """The sampler that a study would make; ours knows the table's costs, as from a probe."""
    from batchfront.study.search.by_name import make_sampler
    from benchmarks.peers import botorch_sampler, known_limits

    if name == "botorch":
        return botorch_sampler(seed)
    known = known_limits(table)
    return make_sampler(
        name, space=space, seed=seed, hardware="", limits=limits or (lambda study: known), past=past
    )


def play_runs(table: Table, runs: Iterator[tuple[Played, float]], *, name: str) -> Score:
    """One search of another house: its runs, each with the seconds spent asking."""
    score = Score(table=table)
    for played, ask_seconds in runs:
        score.ask_seconds += ask_seconds
        score.add(played)
        if score.is_over(SLOW.get(name, MAX_TRIALS)):
            break
    return score
