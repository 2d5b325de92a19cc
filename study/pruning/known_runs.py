"""What the finished runs of one hardware have cost and reached; each is gone through once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.metric import ACCURACY
from batchfront.study.pruning.curves import Curves
from batchfront.study.trials.attributes import CURVE, PREDICTED, SO_FAR, is_feasible
from batchfront.study.trials.hardware import at_known_cost
from batchfront.study.trials.yardstick import Scale, Yardstick

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from optuna.trial import FrozenTrial

    from batchfront.objectives.metric import Metric
    from batchfront.study.pruning.decision import RunSoFar
    from batchfront.study.trials.costs import Costs

    Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A feasible completed trial."""

    number: int
    metric: float
    train_seconds: float
    peak_memory_bytes: float


class KnownRuns:
    """Takes each finished trial once, at what its size is known to cost."""

    def __init__(
        self, costs: Costs, trials: Iterable[FrozenTrial] = (), *, metric: Metric = ACCURACY
    ) -> None:
        self.costs = costs
        self._good = metric.good
        self._scale = Scale(metric)
        self.trials: list[FrozenTrial] = []
        self.n_completed = 0  # with a curve
        self.curves = Curves(costs)  # theirs
        self._rivals: Array | None = None  # (R, 4) values and number; more is better
        self._seconds, self._n_timed = 0.0, 0  # of whole runs, as far as they are known
        self.add(trials)

    def at(self, costs: Costs, *, without: Collection[int] = ()) -> KnownRuns:
        """The same at other costs; or without the trials of some numbers."""
        kept = (trial for trial in self.trials if trial.number not in without)
        return KnownRuns(costs, kept, metric=self._scale.metric)

    def add(self, trials: Iterable[FrozenTrial]) -> None:
        """Take finished trials that were not there before."""
        new = list(trials)
        self.trials += new
        self._scale.add(new)
        for trial in new:
            seconds = self._told(trial) if trial.values is not None else _expected_seconds(trial)
            if seconds is not None:
                self._seconds += seconds
                self._n_timed += 1

    def _told(self, trial: FrozenTrial) -> float:
        """Take a trial that was told values; the seconds it takes."""
        metric, seconds, memory = at_known_cost(trial, self.costs).values
        if is_feasible(trial):
            self._add_rival(self._good(metric), seconds, memory, trial.number)
        if trial.state.name == "COMPLETE" and trial.user_attrs.get(CURVE):
            self.n_completed += 1
            self.curves.add([trial])
        return float(seconds)

    def _add_rival(self, metric: float, seconds: float, memory: float, number: int) -> None:
        """Keep it, unless another is a rival wherever it is one, and a stronger one."""
        import numpy as np

        point = np.array([metric, seconds, memory, number], dtype=float)
        if self._rivals is None:
            self._rivals = np.empty((0, 4))
        if _are_stronger(self._rivals, point).any():
            return
        weaker = _are_stronger(point, self._rivals)
        self._rivals = np.vstack([self._rivals[~weaker], point])

    @property
    def yardstick(self) -> Yardstick:
        """The yardstick for what the trials have shown."""
        return self._scale.yardstick()

    @property
    def mean_seconds(self) -> float:
        """What a whole run takes, over all that were trained; 0 when none is known."""
        return self._seconds / self._n_timed if self._n_timed else 0.0

    def strongest_rival(self, run: RunSoFar) -> Rival | None:
        """The best metric at no more time and no more memory; none that the run has reached."""
        if self._rivals is None:
            return None
        metric, seconds, memory, number = self._rivals.T
        better = metric > self._good(run.reached)
        better &= (seconds <= run.train_seconds) & (memory <= run.peak_memory_bytes)
        if not better.any():
            return None
        best = better & (metric == metric[better].max())
        first = self._rivals[best][number[best].argmin()]  # of equals
        return Rival(
            number=int(first[3]),
            metric=self._good(float(first[0])),
            train_seconds=float(first[1]),
            peak_memory_bytes=float(first[2]),
        )


def _are_stronger(those: Array, than: Array) -> NDArray[np.bool_]:
    """Whether rivals, (..., 4), cost no more than others and beat them; the first of equals."""
    metric, seconds, memory, number = those.T
    metric_2, seconds_2, memory_2, number_2 = than.T
    beats = (metric > metric_2) | ((metric == metric_2) & (number < number_2))
    stronger: NDArray[np.bool_] = beats & (seconds <= seconds_2) & (memory <= memory_2)
    return stronger


def _expected_seconds(trial: FrozenTrial) -> float | None:
    """The seconds that a stopped run would have taken; None where that is not known."""
    if SO_FAR not in trial.user_attrs or trial.user_attrs.get(PREDICTED):
        return None
    seconds: float | None = trial.user_attrs[SO_FAR][1]
    return seconds
