"""The stop rule that pauses: what it was wrong about is taken back when more is known.

A run promises as much as the chance is that it ends above the best completed one that costs no
more, over the time that it would still take, in mean runs. One that promises little is paused and
kept; those that promise most go on in the end, until no paused one promises more than the risk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Verdict
from batchfront.study.plan.plan import RISKS
from batchfront.study.pruning.chances import Chances
from batchfront.study.pruning.decision import Decision, RunSoFar, StopRule
from batchfront.study.pruning.finished import FinishedHere
from batchfront.study.pruning.front import MAX_RISK_SHARE, FrontPruner
from batchfront.study.pruning.known_runs import KnownRuns, Rival
from batchfront.study.trials.attributes import (
    CURVE,
    SO_FAR,
    THAW,
    UNPROBED,
    batch_size_of,
    log2_rate_of,
    trained_seconds,
)
from batchfront.study.trials.outcome import grid_stride, on_grid
from batchfront.study.trials.paused import is_paused, is_thaw

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from batchfront.study.plan.limits import Limits
    from batchfront.study.pruning.chances import Guess
    from batchfront.study.trials.costs import Costs

BOLD, BOLDEST = 5.0, 0.5
"""A run is paused below so many times the risk, and at most below that: it can be taken back."""


class Hope(NamedTuple):
    """A paused run, and the log of what it promises; infinite where nothing speaks against it."""

    promise: float
    number: int
    trial: FrozenTrial


def ranked(rule: StopRule, study: Study) -> list[FrozenTrial]:
    """The paused trials of this hardware, the most hopeless last."""
    return [hope.trial for hope in rule.hopes(study)] if isinstance(rule, PausingPruner) else []


def nothing_kept(trial: FrozenTrial) -> bool:
    """Nothing is: where there is no folder for it."""
    return False


def to_go_on(
    rule: StopRule,
    study: Study,
    trials: Sequence[FrozenTrial],
    *,
    limits: Limits | None = None,
    is_kept: Callable[[FrozenTrial], bool] = nothing_kept,
) -> list[FrozenTrial]:
    """The paused ones of a study's trials that the rule would go on with, the best first.

    `limits`: those whose rest the budget of the search does not afford are left out. A run of which
    nothing is kept any more starts over, and has to be afforded as a whole.
    """
    if not isinstance(rule, PausingPruner) or not any(map(is_paused, trials)):
        return []
    due = [hope.trial for hope in rule.hopes(study) if rule.goes_on(hope)]
    if limits is None:
        return due
    done = {trial.number: trained_seconds(trial) if is_kept(trial) else 0.0 for trial in due}
    return [t for t in due if limits.can_afford(batch_size_of(t.params), trained=done[t.number])]


class PausingPruner:
    """Pauses a run that promises little; one that is not kept is stopped as `front` would."""

    def __init__(
        self,
        *,
        risk: float,
        seed: int,
        hardware: str,
        costs: Callable[[], Costs],
        length: Length,
    ) -> None:
        self._risk = risk
        self._finished = FinishedHere(Chances, hardware=hardware, costs=costs)
        self._length = length
        front_risk = min(risk, RISKS["front"])  # what it stops is stopped for good
        self._of_front = FrontPruner(
            risk=front_risk, seed=seed, hardware=hardware, costs=costs, length=length
        )

    def judge(self, study: Study, trial: Trial, progress: RunSoFar) -> Decision | None:
        """Dominated, with the dominating trial and the chance as the reason; None to go on."""
        if not progress.is_kept:
            return self._of_front.judge(study, trial, progress)
        metric = self._finished.metric_of(study)
        n_points, planned = len(progress.curve), self._length.points
        curve = on_grid(progress.curve, planned, metric)
        if n_points != len(curve) * grid_stride(planned):
            return None  # no point that other curves have
        if n_points <= trial.user_attrs.get(THAW, 0):
            return None  # it starts over, and was to go on from there
        known = self._finished.runs(study, trial.number)
        rival = known.strongest_rival(progress)
        guess = self._guess(known, curve, trial)
        if rival is None or guess is None:
            return None
        risk = self._risk if is_thaw(trial) else min(BOLD * self._risk, BOLDEST)
        if not self._promise(known, guess, rival, progress) < math.log(risk):
            return None
        return self._decision(known, guess, rival, progress)

    def _decision(
        self, known: KnownRuns, guess: Guess, rival: Rival, progress: RunSoFar
    ) -> Decision:
        standard = self._finished.yardstick.standard(rival.metric)
        chance = math.exp(guess.log_chance(standard))
        left = progress.seconds_left / known.mean_seconds
        return Decision(
            verdict=Verdict.DOMINATED,
            reason=f"trial {rival.number} reached {rival.metric:.4g} at no more time and memory; "
            f"after {self._length.point} {len(progress.curve)} this run reaches that with a "
            f"probability of {chance:.2g}, and {left:.2g} mean runs are left to train",
            shortfall=standard - guess.middle,
            pauses=True,
        )

    def goes_on(self, hope: Hope) -> bool:
        """Whether a paused run promises more than is risked in the end."""
        return hope.promise >= math.log(self._risk)

    def hopes(self, study: Study) -> list[Hope]:
        """The paused runs of this hardware, the most promising first."""
        known = self._finished.all_runs(study)
        paused = [trial for trial in known.trials if is_paused(trial)]
        found = [Hope(self._promise_of(known, trial), trial.number, trial) for trial in paused]
        return sorted(found, key=lambda hope: (-hope.promise, hope.number))

    def _promise_of(self, known: KnownRuns, trial: FrozenTrial) -> float:
        """What a paused run promises; infinite where too little is known, or nothing beats it."""
        curve: list[float] = trial.user_attrs[CURVE]
        run = self._run_so_far(known, trial)
        rival, guess = known.strongest_rival(run), self._guess(known, curve, trial, growth=1.0)
        if rival is None or guess is None:
            return math.inf
        return self._promise(known, guess, rival, run)

    def _run_so_far(self, known: KnownRuns, trial: FrozenTrial) -> RunSoFar:
        """What a paused run has reached, and what it takes in all, as far as is known by now."""
        curve: list[float] = trial.user_attrs[CURVE]
        reached, seconds, peak = trial.user_attrs[SO_FAR]
        size = batch_size_of(trial.params)
        cost = None if UNPROBED in trial.user_attrs else known.costs.get(size)
        n_points = self._length.points // grid_stride(self._length.points)
        return RunSoFar(
            batch_size=size,
            curve=(curve[-1] if reached is None else reached,),
            train_seconds=cost.train_seconds or seconds if cost is not None else seconds,
            peak_memory_bytes=cost.peak_memory_bytes or peak if cost is not None else peak,
            share_done=len(curve) / n_points,
            metric=self._finished.yardstick.metric,
        )

    def _guess(
        self,
        known: KnownRuns,
        curve: Sequence[float],
        trial: Trial | FrozenTrial,
        **growth: float,
    ) -> Guess | None:
        """How the run will end; None while too few curves are known, and after the last epoch."""
        import numpy as np

        chances = self._finished.learned(known, **growth)
        if chances is None or not 0 < len(curve) < chances.n_epochs:
            return None
        return chances.guess(
            self._finished.yardstick.standard(np.array(curve)),
            math.log2(batch_size_of(trial.params)),
            log2_rate_of(trial),
        )

    def _promise(self, known: KnownRuns, guess: Guess, rival: Rival, run: RunSoFar) -> float:
        """Log of the chance to reach the rival, over the mean runs that are left to train.

        A dear run counts as `MAX_RISK_SHARE` of them: none is left behind for its price alone.
        """
        left = run.seconds_left
        if left <= 0 or not known.mean_seconds:
            return math.inf
        chance = guess.log_chance(self._finished.yardstick.standard(rival.metric))
        return chance - math.log(min(left / known.mean_seconds, MAX_RISK_SHARE))
