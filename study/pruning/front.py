"""The default stop rule: stops only runs that can no longer belong to the Pareto front.

With several objectives a run that falls behind in accuracy may still be on the front: because it
is quick, or small. Time and memory are known before it starts. So it is stopped only when another,
completed run cost no more of either and beats the best accuracy that this one can still reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Verdict
from batchfront.objectives.metric import Metric
from batchfront.study.pruning.bound import FIRST_EPOCH, SPARED_SHARE, Bound
from batchfront.study.pruning.decision import Decision, RunSoFar
from batchfront.study.pruning.known_runs import KnownRuns, Rival
from batchfront.study.trials.attributes import SPARED, derive_seed
from batchfront.study.trials.followed import Followed
from batchfront.study.trials.hardware import ran_on
from batchfront.study.trials.outcome import grid_stride, on_grid
from batchfront.study.trials.yardstick import AS_IT_IS, metric_in

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

    from batchfront.study.trials.costs import Costs

MIN_CURVES = 10  # completed ones, before anything is stopped
WORTH = 0.1
"""A stop that would save less than this share of a mean run is worth no risk."""
MAX_RISK_SHARE = 2.0
"""Risk is spent where it buys time: a run's share of it is its cost over the mean, at most this."""
REREAD_SECONDS = 1.0  # a stop may come that much late: reading a database takes milliseconds
RELEARN = 1.05  # learn anew when there are this many times the curves


class FrontPruner:
    """Stops a run whose optimistic final metric, at its known cost, is dominated."""

    def __init__(
        self, *, risk: float, seed: int, hardware: str, costs: Callable[[], Costs], length: Length
    ) -> None:
        self._risk = risk
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
        self._read_for = -1  # trial
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
        reach = self._reach(known, curve, progress, progress.train_seconds / mean_seconds)
        if reach is None or metric.reaches(reach, rival.metric):
            return None
        if self._is_spared(trial, reach, rival, progress):
            return None
        return Decision(
            verdict=Verdict.DOMINATED,
            reason=f"trial {rival.number} reached {rival.metric:.4g} at no more time and memory; "
            f"this run could still reach {reach:.4g} after {self._length.point} {n_points}",
            shortfall=self._yardstick.standard(rival.metric) - self._yardstick.standard(reach),
        )

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
            is_here = ran_on(study, self._hardware)
            self._known.add(t for t in self._followed.look(study).finished if is_here(t))
            self._read_for, self._read_at = number, now
            if self._bound is None:  # later it has to be the one that was learned with
                self._yardstick = self._known.yardstick
        if costs != self._known.costs:  # sizes were probed again
            self._known = KnownRuns(costs, self._known.trials, metric=metric)
        return self._known

    def _reach(
        self, known: KnownRuns, curve: list[float], run: RunSoFar, cost: float
    ) -> float | None:
        """Optimistic final metric; None while too few curves are known. `cost`: in mean runs."""
        import numpy as np

        n_completed = known.n_completed
        if self._bound is None or n_completed >= RELEARN * self._n_learned:
            yardstick = known.yardstick
            history = known.curves.history(yardstick)
            if history is None or len(history) < MIN_CURVES:
                return None
            self._bound, self._n_learned = Bound(history), n_completed
            self._yardstick = yardstick
        if len(curve) >= self._bound.n_epochs:
            return None
        upper = self._bound.upper(
            self._yardstick.standard(np.array(curve)),
            float(np.log2(run.batch_size)),
            margin=self._bound.margin(self._risk * min(cost, MAX_RISK_SHARE)),
        )
        reach: float = self._yardstick.own(upper)
        metric = self._yardstick.metric
        return max(reach, run.reached, key=metric.good) if run.tells_best else reach

    def _is_spared(self, trial: Trial, reach: float, rival: Rival, run: RunSoFar) -> bool:
        """A coin for each trial; the first decision that was not carried out is recorded."""
        coin = derive_seed(self._seed, trial.number, purpose="spare") / 2**31
        if coin >= SPARED_SHARE:
            return False
        if SPARED not in trial.user_attrs:
            said = {"epoch": len(run.curve), "reach": round(reach, 6), "rival": rival.number}
            trial.set_user_attr(SPARED, said)
        return True
