"""The default stop rule: stops only runs that can no longer belong to the Pareto front.

With several objectives a run that falls behind in accuracy may still be on the front: because it
is quick, or small. Time and memory are known before it starts. So it is stopped only when another,
completed run cost no more of either and beats the best accuracy that this one can still reach.

A run that is kept can be paused instead, on less evidence: what was wrong is taken back later, when
the bound and the rivals are those of all runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Verdict
from batchfront.objectives.metric import Metric
from batchfront.study.pruning.bound import FIRST_EPOCH, SPARED_SHARE, Bound
from batchfront.study.pruning.decision import Decision, RunSoFar, StopRule
from batchfront.study.pruning.known_runs import KnownRuns, Rival
from batchfront.study.trials.attributes import (
    CURVE,
    SO_FAR,
    SPARED,
    UNPROBED,
    batch_size_of,
    derive_seed,
    trained_seconds,
)
from batchfront.study.trials.followed import Followed
from batchfront.study.trials.hardware import ran_on
from batchfront.study.trials.kept import root_of
from batchfront.study.trials.outcome import grid_stride, on_grid
from batchfront.study.trials.paused import is_paused, is_thaw
from batchfront.study.trials.yardstick import AS_IT_IS, metric_in

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from batchfront.study.plan.limits import Limits
    from batchfront.study.trials.costs import Costs

MIN_CURVES = 10  # completed ones, before anything is stopped
WORTH = 0.1
"""A stop that would save less than this share of a mean run is worth no risk."""
MAX_RISK_SHARE = 2.0
"""Risk is spent where it buys time: a run's share of it is its cost over the mean, at most this."""
BOLD, BOLDEST = 5.0, 0.5
"""A run is paused at so many times the risk, and at most at that one: it can be taken back."""
REREAD_SECONDS = 1.0  # a stop may come that much late: reading a database takes milliseconds
ANEW, NO_TRIAL = -2, -1  # numbers that no trial has
RELEARN = 1.05  # learn anew when there are this many times the curves


class Hope(NamedTuple):
    """A paused run, and by how many spreads it is beyond the margin; below 0 it is to go on."""

    beyond: float
    number: int
    trial: FrozenTrial


def ranked(rule: StopRule, study: Study) -> list[FrozenTrial]:
    """The paused trials of this hardware, the most hopeless last."""
    return [hope.trial for hope in rule.hopes(study)] if isinstance(rule, FrontPruner) else []


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
    if not isinstance(rule, FrontPruner) or not rule.pauses or not any(map(is_paused, trials)):
        return []
    due = [hope.trial for hope in rule.hopes(study) if hope.beyond <= 0]
    if limits is None:
        return due
    done = {trial.number: trained_seconds(trial) if is_kept(trial) else 0.0 for trial in due}
    return [t for t in due if limits.can_afford(batch_size_of(t.params), trained=done[t.number])]


class FrontPruner:
    """Stops a run whose optimistic final metric, at its known cost, is dominated."""

    def __init__(
        self,
        *,
        risk: float,
        seed: int,
        hardware: str,
        costs: Callable[[], Costs],
        length: Length,
        pauses: bool = False,
    ) -> None:
        """`pauses`: runs that are kept are paused, at more risk."""
        self._risk = risk
        self.pauses = pauses
        self._seed = seed
        self._hardware = hardware
        self._costs = costs  # as known now: a probe may be repeated while the study runs
        self._length = length
        self._followed = Followed()
        self._metric: Metric | None = None
        self._known: KnownRuns | None = None
        self._bound: Bound | None = None
        self._yardstick = AS_IT_IS
        self._n_learned = 0
        self._read_for = ANEW  # trial
        self._read_at = 0.0

    def judge(self, study: Study, trial: Trial, progress: RunSoFar) -> Decision | None:
        """Dominated, with the dominating trial and the bound as the reason; None to go on."""
        metric = self._metric_of(study)
        n_points, planned = len(progress.curve), self._length.points
        curve = on_grid(progress.curve, planned, metric)
        if len(curve) < FIRST_EPOCH or n_points != len(curve) * grid_stride(planned):
            return None  # too early, or no point that other curves have
        known = self._finished_here(study, trial.number, metric)
        rival = known.strongest_rival(progress)
        mean_seconds = known.mean_seconds
        if rival is None or not mean_seconds:
            return None
        if progress.train_seconds * (1 - progress.share_done) < WORTH * mean_seconds:
            return None
        pauses = self.pauses and progress.is_kept
        bold = pauses and not is_thaw(trial)
        risk = min(BOLD * self._risk, BOLDEST) if bold else self._risk
        risk *= min(progress.train_seconds / mean_seconds, MAX_RISK_SHARE)
        final = pauses and not bold
        reach = self._reach(known, curve, progress, risk, final=final)
        if reach is None or metric.reaches(reach, rival.metric):
            return None
        if self._is_spared(trial, reach, rival, progress):
            return None
        return Decision(
            verdict=Verdict.DOMINATED,
            reason=f"trial {rival.number} reached {rival.metric:.4g} at no more time and memory; "
            f"this run could still reach {reach:.4g} after {self._length.point} {n_points}",
            shortfall=self._yardstick.standard(rival.metric) - self._yardstick.standard(reach),
            pauses=pauses,
        )

    def hopes(self, study: Study) -> list[Hope]:
        """The paused runs of this hardware, the most promising first.

        Those that are beyond the margin at the risk are dominated, as far as is known by now.
        """
        metric = self._metric_of(study)
        self._read_for = ANEW
        known = self._finished_here(study, NO_TRIAL, metric)
        paused = [trial for trial in known.trials if is_paused(trial)]
        bound = self._learned(known, growth=1.0) if paused else None
        beyond = ((self._beyond(known, bound, trial), trial) for trial in paused)
        return sorted(Hope(far, trial.number, trial) for far, trial in beyond)

    def _beyond(self, known: KnownRuns, bound: Bound | None, trial: FrozenTrial) -> float:
        """Spreads; -inf of a run that nothing dominates."""
        import numpy as np

        metric = self._yardstick.metric
        curve: list[float] = trial.user_attrs[CURVE]
        reached, seconds, peak = trial.user_attrs[SO_FAR]
        size = batch_size_of(trial.params)
        cost = None if UNPROBED in trial.user_attrs else known.costs.get(size)
        run = RunSoFar(
            batch_size=size,
            curve=(curve[-1] if reached is None else reached,),
            train_seconds=cost.train_seconds or seconds if cost is not None else seconds,
            peak_memory_bytes=cost.peak_memory_bytes or peak if cost is not None else peak,
            share_done=0.0,
            metric=metric,
        )
        rival, mean_seconds = known.strongest_rival(run), known.mean_seconds
        if rival is None or bound is None or not FIRST_EPOCH <= len(curve) < bound.n_epochs:
            return -math.inf
        needed = bound.needed(
            self._yardstick.standard(np.array(curve)),
            math.log2(size),
            rival=self._yardstick.standard(rival.metric),
        )
        risk = self._risk * min(run.train_seconds / mean_seconds, MAX_RISK_SHARE)
        return needed - bound.margin_after(len(curve), risk)

    def _metric_of(self, study: Study) -> Metric:
        """Read once, which takes milliseconds: it never changes within a study."""
        if self._metric is None:
            self._metric = metric_in(study)
        return self._metric

    def _finished_here(self, study: Study, number: int, metric: Metric) -> KnownRuns:
        """Runs of this hardware; read on for each trial, and within one once a second."""
        now, costs = time.monotonic(), self._costs()
        if self._known is None:
            self._known = KnownRuns(costs, metric=metric)
        if number != self._read_for or now - self._read_at > REREAD_SECONDS:
            is_here, look = ran_on(study, self._hardware), self._followed.look(study)
            if look.superseded:
                self._known = self._known.at(self._known.costs, without=look.superseded)
            self._known.add(t for t in look.finished if is_here(t))
            self._read_for, self._read_at = number, now
            if self._bound is None:  # later it has to be the one that was learned with
                self._yardstick = self._known.yardstick
        if costs != self._known.costs:  # sizes were probed again
            self._known = self._known.at(costs)
        return self._known

    def _learned(self, known: KnownRuns, *, growth: float = RELEARN) -> Bound | None:
        """The bound, learned anew from so many times the curves; None while these are too few."""
        n_completed = known.n_completed
        if self._bound is None or n_completed >= max(growth * self._n_learned, self._n_learned + 1):
            yardstick = known.yardstick
            history = known.curves.history(yardstick)
            if history is None or len(history) < MIN_CURVES:
                return None
            self._bound, self._n_learned = Bound(history), n_completed
            self._yardstick = yardstick
        return self._bound

    def _reach(
        self, known: KnownRuns, curve: list[float], run: RunSoFar, risk: float, *, final: bool
    ) -> float | None:
        """Optimistic final metric at a risk; None while too few curves are known.

        `final`: the risk is that of a run which might go on, as for `hopes`.
        """
        import numpy as np

        bound = self._learned(known)
        if bound is None or len(curve) >= bound.n_epochs:
            return None
        upper = bound.upper(
            self._yardstick.standard(np.array(curve)),
            float(np.log2(run.batch_size)),
            margin=bound.margin_after(len(curve), risk) if final else bound.margin(risk),
        )
        reach: float = self._yardstick.own(upper)
        metric = self._yardstick.metric
        return max(reach, run.reached, key=metric.good) if run.tells_best else reach

    def _is_spared(self, trial: Trial, reach: float, rival: Rival, run: RunSoFar) -> bool:
        """A coin for each trial; the first decision that was not carried out is recorded.

        One that goes on with a paused run has had its coin.
        """
        number = root_of(trial) if is_thaw(trial) else trial.number
        coin = derive_seed(self._seed, number, purpose="spare") / 2**31
        if coin >= SPARED_SHARE:
            return False
        if SPARED not in trial.user_attrs:
            said = {"epoch": len(run.curve), "reach": round(reach, 6), "rival": rival.number}
            trial.set_user_attr(SPARED, said)
        return True
