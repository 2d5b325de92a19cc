"""What the finished trials of a study tell a sampler, in columns that only grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import FAILED, Verdict
from batchfront.objectives.metric import ACCURACY
from batchfront.study.pruning.bound import FIRST_EPOCH, Bound
from batchfront.study.pruning.curves import Curves
from batchfront.study.search.observations import Observations
from batchfront.study.trials.attributes import (
    CURVE,
    ERROR,
    FAIL_REASON,
    PREDICTED,
    SCHEDULE,
    UNPROBED,
    VERDICT,
    is_feasible,
    log2_batch_size_of,
)
from batchfront.study.trials.hardware import at_known_cost
from batchfront.study.trials.outcome import share_taken
from batchfront.study.trials.yardstick import Scale, Yardstick

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from optuna.trial import FrozenTrial

    from batchfront.objectives.metric import Metric
    from batchfront.study.search.encoding import Encoding
    from batchfront.study.trials.costs import Costs

    Array = NDArray[np.float64]

OVERTAKEN = {Verdict.DOMINATED.value, Verdict.PRUNED.value, Verdict.OVER_BUDGET.value}
"""Stopped while nothing was wrong with them: what they would have reached can be expected. One that
was told over a budget without running has no curve, and says nothing."""
MIN_CURVES = 3  # completed ones, to expect from
N_COLUMNS = 7  # of a trial beside what is searched


class Evidence:
    """Takes each finished trial once, at what its size is known to cost.

    Trials that say nothing about the error are left out. Accuracy does not depend on the hardware,
    so trials of another one count as far as that goes.
    """

    def __init__(
        self,
        trials: Iterable[FrozenTrial] = (),
        *,
        encoding: Encoding,
        costs: Costs,
        is_here: Callable[[FrozenTrial], bool],
        metric: Metric = ACCURACY,
    ) -> None:
        """`is_here`: whether a trial ran on this hardware."""
        self.costs = costs
        self.trials: list[FrozenTrial] = []
        self._encoding = encoding
        self._is_here = is_here
        self._scale = Scale(metric)
        self._curves = Curves(costs)
        self._stopped: dict[int, FrozenTrial] = {}  # by number, those with a curve
        self._columns = Growing(N_COLUMNS + encoding.n_columns)
        self._lost: list[list[float]] = []
        self.add(trials)

    def at(
        self, costs: Costs, *, up_to: float = math.inf, without: Collection[int] = ()
    ) -> Evidence:
        """The same at other costs; or of the trials up to a number, or without some numbers."""
        known = (trial for trial in self.trials if trial.number <= up_to)
        trials = [trial for trial in known if trial.number not in without]
        return Evidence(
            trials, encoding=self._encoding, costs=costs,
            is_here=self._is_here, metric=self._scale.metric,
        )  # fmt: skip

    def add(self, trials: Iterable[FrozenTrial]) -> None:
        """Take finished trials that were not there before."""
        new = list(trials)
        self.trials += new
        self._scale.add(new)
        self._curves.add(trial for trial in new if trial.state.name == "COMPLETE")
        for trial in new:
            here = self._is_here(trial)
            if here and trial.user_attrs.get(UNPROBED) and _ran_out(trial):
                self._lost.append(self._encoding.row(trial.params))
            if self._tells_of_error(trial):
                self._columns.append(self._row(trial, here=here))

    @property
    def out_of_memory(self) -> Array:
        """(K, D) rows of runs here that had no memory, at costs no probe knows."""
        import numpy as np

        return np.array(self._lost).reshape(len(self._lost), self._encoding.n_columns)

    @property
    def yardstick(self) -> Yardstick:
        """The yardstick of all trials so far."""
        return self._scale.yardstick()

    def observations(self, yardstick: Yardstick | None = None) -> Observations:
        """What has been seen so far. `yardstick`: None: that of these trials."""
        import numpy as np

        yardstick = yardstick or self.yardstick
        columns = self._columns.all
        columns = columns[np.argsort(columns[:, 0], kind="stable")]  # workers end in any order
        number, metric, failed, feasible, seconds, memory, share = columns[:, :N_COLUMNS].T
        completed = ~np.isnan(seconds)
        counts = completed & (feasible > 0)
        return Observations(
            numbers=number.astype(int),
            x=columns[:, N_COLUMNS:],
            metric=yardstick.standard(metric),
            failed=failed > 0,
            counts=counts if counts.any() else completed,
            costs=np.column_stack([seconds, memory]),
            share=share,
            expect=partial(self._expected, yardstick=yardstick),
        )

    def _tells_of_error(self, trial: FrozenTrial) -> bool:
        if SCHEDULE in trial.user_attrs or not self._encoding.knows(trial.params):
            return False  # not trained as what is searched
        if trial.state.name == "COMPLETE" or _has_failed(trial):
            return True
        curve = trial.user_attrs.get(CURVE)
        if trial.user_attrs.get(VERDICT) not in OVERTAKEN or not curve:
            return False
        if math.isfinite(curve[-1]):
            self._stopped[trial.number] = trial
        return math.isfinite(curve[-1])

    def _row(self, trial: FrozenTrial, *, here: bool) -> list[float]:
        told = [math.nan] * 2
        if here and trial.values:
            told = at_known_cost(trial, self.costs).values[1:]
        metric = trial.values[0] if trial.state.name == "COMPLETE" else math.nan
        failed, feasible = _has_failed(trial), is_feasible(trial)
        share = share_taken(trial)
        row = self._encoding.row(trial.params)
        return [trial.number, metric, failed, feasible, *told, share, *row]

    def _expected(self, numbers: NDArray[np.intp], *, yardstick: Yardstick) -> tuple[Array, Array]:
        """The final metrics that stopped runs would have had, with deviations, (M,) each.

        Its level plus what the completed curves most like it gained from there. A curve that is too
        short, or the first of its kind, stands for itself; its deviation is NaN.
        """
        import numpy as np

        runs = [self._stopped[number] for number in numbers.tolist()]
        curves = [yardstick.of_trial(run).user_attrs[CURVE] for run in runs]
        metric = np.array([curve[-1] for curve in curves], dtype=float)
        deviation = np.full(len(runs), math.nan)
        history = self._curves.history(yardstick) if runs else None
        if history is None or len(history) < MIN_CURVES:
            return metric, deviation
        bound = Bound(history)
        size = np.array([log2_batch_size_of(run.params) for run in runs])
        length = np.array([len(curve) for curve in curves])
        for epoch in sorted(set(length.tolist())):
            if not FIRST_EPOCH <= epoch < bound.n_epochs:
                continue
            same = np.flatnonzero(length == epoch)
            found, spread = bound.expected(np.array([curves[run] for run in same]), size[same])
            known = np.isfinite(found)  # unless a curve has gaps
            metric[same[known]], deviation[same[known]] = found[known], spread[known]
        return metric, deviation


class Growing:
    """Rows of numbers, added one by one; those that are there are not copied each time."""

    def __init__(self, n_columns: int) -> None:
        self._n = 0
        self._n_columns = n_columns
        self._room: Array | None = None

    def append(self, row: list[float]) -> None:
        """Add a row."""
        import numpy as np

        if self._room is None or self._n == len(self._room):
            room = np.empty((max(64, 2 * self._n), self._n_columns))
            room[: self._n] = self.all
            self._room = room
        self._room[self._n] = row
        self._n += 1

    @property
    def all(self) -> Array:
        """(N, columns)"""
        import numpy as np

        return np.empty((0, self._n_columns)) if self._room is None else self._room[: self._n]


def _has_failed(trial: FrozenTrial) -> bool:
    """Diverged, stalled, or the objective raised: not where it ran out of memory or of budget."""
    if trial.state.name == "FAIL":
        return trial.user_attrs.get(FAIL_REASON) == ERROR
    return trial.user_attrs.get(VERDICT) in FAILED


def _ran_out(trial: FrozenTrial) -> bool:
    """Whether it had no memory, or was predicted to have none, or more than the budget allows."""
    verdict = trial.user_attrs.get(VERDICT)
    is_refused = verdict == Verdict.OVER_BUDGET.value and PREDICTED in trial.user_attrs
    return verdict == Verdict.OUT_OF_MEMORY.value or is_refused
