"""The default stop rule: stops only runs that can no longer belong to the Pareto front.

With several objectives a run that falls behind in accuracy may still be on the front: because it
is quick, or small. Time and memory are known before it starts. So it is stopped only when another,
completed run cost no more of either and beats the best accuracy that this one can still reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import Verdict
from batchfront.study.pruning.bound import FIRST_EPOCH, SPARED_SHARE, Bound, learn_from
from batchfront.study.pruning.decision import Decision, RunSoFar
from batchfront.study.trials.attributes import (
    CURVE,
    PREDICTED,
    SO_FAR,
    SPARED,
    derive_seed,
    is_feasible,
)
from batchfront.study.trials.hardware import at_known_cost, ran_on
from batchfront.study.trials.outcome import grid_stride, on_grid
from batchfront.study.trials.sound import SoundTrials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from batchfront.study.trials.costs import Costs

MIN_CURVES = 10  # completed ones, before anything is stopped
WORTH = 0.1
"""A stop that would save less than this share of a mean run is worth no risk."""
MAX_RISK_SHARE = 2.0
"""Risk is spent where it buys time: a run's share of it is its cost over the mean, at most this."""
REREAD_SECONDS = 1.0  # a stop may come that much late: reading a database takes milliseconds
RELEARN = 1.05  # learn anew when there are this many times the curves


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A feasible completed trial."""

    number: int
    metric: float
    train_seconds: float
    peak_memory_bytes: float


class FrontPruner:
    """Stops a run whose optimistic final metric, at its known cost, is dominated."""

    def __init__(
        self, *, risk: float, seed: int, hardware: str, costs: Callable[[], Costs], epochs: int
    ) -> None:
        self._risk = risk
        self._seed = seed
        self._hardware = hardware
        self._costs = costs  # as known now: a probe may be repeated while the study runs
        self._epochs = epochs
        self._sound = SoundTrials()
        self._bound: Bound | None = None
        self._n_learned = 0
        self._finished: list[FrozenTrial] = []
        self._read_for = -1  # trial
        self._read_at = 0.0

    def judge(self, study: Study, trial: Trial, progress: RunSoFar) -> Decision | None:
        """Dominated, with the dominating trial and the bound as the reason; None to go on."""
        curve = on_grid(progress.curve, self._epochs)
        n_epochs = len(progress.curve)
        if len(curve) < FIRST_EPOCH or n_epochs != len(curve) * grid_stride(self._epochs):
            return None  # too early, or no point that other curves have
        trials = self._finished_here(study, trial.number)
        rival = self._strongest_rival(trials, progress)
        mean_seconds = _mean_seconds(trials, self._costs())
        if rival is None or not mean_seconds:
            return None
        if progress.train_seconds * (1 - progress.share_done) < WORTH * mean_seconds:
            return None
        reach = self._reach(trials, curve, progress, progress.train_seconds / mean_seconds)
        if reach is None or reach >= rival.metric or self._is_spared(trial, reach, rival, progress):
            return None
        return Decision(
            verdict=Verdict.DOMINATED,
            reason=f"trial {rival.number} reached {rival.metric:.4g} at no more time and memory; "
            f"this run could still reach {reach:.4g} after epoch {len(progress.curve)}",
            shortfall=rival.metric - reach,
        )

    def _finished_here(self, study: Study, number: int) -> list[FrozenTrial]:
        """Trials of this hardware; read anew for each trial, and within one once a second."""
        now = time.monotonic()
        if number != self._read_for or now - self._read_at > REREAD_SECONDS:
            is_here = ran_on(study, self._hardware)
            trials = self._sound.of(study)
            self._finished = [t for t in trials if t.state.is_finished() and is_here(t)]
            self._read_for, self._read_at = number, now
        return self._finished

    def _strongest_rival(self, trials: list[FrozenTrial], run: RunSoFar) -> Rival | None:
        """The best metric at no more time and no more memory; none that this run has reached."""
        costs = self._costs()
        better = [t for t in trials if t.values and t.values[0] > run.reached and is_feasible(t)]
        rivals = [
            Rival(number=t.number, metric=metric, train_seconds=seconds, peak_memory_bytes=memory)
            for t in (at_known_cost(trial, costs) for trial in better)
            for metric, seconds, memory in [t.values]
            if seconds <= run.train_seconds and memory <= run.peak_memory_bytes
        ]
        return max(rivals, key=lambda rival: rival.metric, default=None)

    def _reach(
        self, trials: list[FrozenTrial], curve: list[float], run: RunSoFar, cost: float
    ) -> float | None:
        """Optimistic final metric; None while too few curves are known. `cost`: in mean runs."""
        import numpy as np

        completed = [t for t in trials if t.state.name == "COMPLETE" and t.user_attrs.get(CURVE)]
        if self._bound is None or len(completed) >= RELEARN * self._n_learned:
            history = learn_from(completed, self._costs())
            if history is None or len(history) < MIN_CURVES:
                return None
            self._bound, self._n_learned = Bound(history), len(completed)
        if len(curve) >= self._bound.n_epochs:
            return None
        upper = self._bound.upper(
            np.array(curve),
            float(np.log2(run.batch_size)),
            margin=self._bound.margin(self._risk * min(cost, MAX_RISK_SHARE)),
        )
        return max(upper, run.reached) if run.tells_best else upper

    def _is_spared(self, trial: Trial, reach: float, rival: Rival, run: RunSoFar) -> bool:
        """A coin for each trial; the first decision that was not carried out is recorded."""
        coin = derive_seed(self._seed, trial.number, purpose="spare") / 2**31
        if coin >= SPARED_SHARE:
            return False
        if SPARED not in trial.user_attrs:
            said = {"epoch": len(run.curve), "reach": round(reach, 6), "rival": rival.number}
            trial.set_user_attr(SPARED, said)
        return True


def _mean_seconds(trials: list[FrozenTrial], costs: Costs) -> float:
    """What a whole run takes, over all that were trained; 0 when none is known."""
    seconds = []
    for trial in trials:
        if trial.values is not None:
            seconds.append(at_known_cost(trial, costs).values[1])
        elif SO_FAR in trial.user_attrs and not trial.user_attrs.get(PREDICTED):
            seconds.append(trial.user_attrs[SO_FAR][1])
    known = [value for value in seconds if value is not None]
    return sum(known) / len(known) if known else 0.0
