"""The default stop rule: stops only runs that can no longer belong to the Pareto front.

With several objectives a run that falls behind in accuracy may still be on the front: because it
is quick, or small. Time and memory are known before it starts. So it is stopped only when another,
completed run cost no more of either and beats the best accuracy that this one can still reach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Verdict
from batchfront.study.pruning.bound import FIRST_EPOCH, SPARED_SHARE, Bound
from batchfront.study.pruning.decision import Decision, RunSoFar
from batchfront.study.pruning.finished import FinishedHere
from batchfront.study.pruning.known_runs import KnownRuns, Rival
from batchfront.study.trials.attributes import SPARED, derive_seed
from batchfront.study.trials.outcome import grid_stride, on_grid

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

    from batchfront.study.trials.costs import Costs

WORTH = 0.1
"""A stop that would save less than this share of a mean run is worth no risk."""
MAX_RISK_SHARE = 2.0
"""Risk is spent where it buys time: a run's share of it is its cost over the mean, at most this."""


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
    ) -> None:
        self._risk = risk
        self._seed = seed
        self._finished = FinishedHere(Bound, hardware=hardware, costs=costs)
        self._length = length

    def judge(self, study: Study, trial: Trial, progress: RunSoFar) -> Decision | None:
        """Dominated, with the dominating trial and the bound as the reason; None to go on."""
        metric = self._finished.metric_of(study)
        n_points, planned = len(progress.curve), self._length.points
        curve = on_grid(progress.curve, planned, metric)
        if len(curve) < FIRST_EPOCH or n_points != len(curve) * grid_stride(planned):
            return None  # too early, or no point that other curves have
        known = self._finished.runs(study, trial.number)
        rival = known.strongest_rival(progress)
        mean_seconds = known.mean_seconds
        if rival is None or not mean_seconds:
            return None
        if progress.train_seconds * (1 - progress.share_done) < WORTH * mean_seconds:
            return None
        risk = self._risk * min(progress.train_seconds / mean_seconds, MAX_RISK_SHARE)
        reach = self._reach(known, curve, progress, risk)
        if reach is None or metric.reaches(reach, rival.metric):
            return None
        if self._is_spared(trial, reach, rival, progress):
            return None
        standard = self._finished.yardstick.standard
        return Decision(
            verdict=Verdict.DOMINATED,
            reason=f"trial {rival.number} reached {rival.metric:.4g} at no more time and memory; "
            f"this run could still reach {reach:.4g} after {self._length.point} {n_points}",
            shortfall=standard(rival.metric) - standard(reach),
        )

    def _reach(
        self, known: KnownRuns, curve: list[float], run: RunSoFar, risk: float
    ) -> float | None:
        """Optimistic final metric at a risk; None while too few curves are known."""
        import numpy as np

        bound = self._finished.learned(known)
        if bound is None or len(curve) >= bound.n_epochs:
            return None
        yardstick = self._finished.yardstick
        upper = bound.upper(
            yardstick.standard(np.array(curve)),
            float(np.log2(run.batch_size)),
            margin=bound.margin(risk),
        )
        reach: float = yardstick.own(upper)
        return max(reach, run.reached, key=yardstick.metric.good) if run.tells_best else reach

    def _is_spared(self, trial: Trial, reach: float, rival: Rival, run: RunSoFar) -> bool:
        """A coin for each trial; the first decision that was not carried out is recorded."""
        coin = derive_seed(self._seed, trial.number, purpose="spare") / 2**31
        if coin >= SPARED_SHARE:
            return False
        if SPARED not in trial.user_attrs:
            said = {"epoch": len(run.curve), "reach": round(reach, 6), "rival": rival.number}
            trial.set_user_attr(SPARED, said)
        return True
