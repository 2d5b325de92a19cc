"""The curves of completed runs that stop rules learn from; each trial is gone through once."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from batchfront.study.pruning.bound import LOWEST, SPARED_SHARE, History
from batchfront.study.trials.attributes import (
    CURVE,
    SCHEDULE,
    SPARED,
    length_of,
    log2_batch_size_of,
    log2_rate_of,
)
from batchfront.study.trials.hardware import at_known_cost
from batchfront.study.trials.outcome import ended_early, n_points
from batchfront.study.trials.yardstick import AS_IT_IS, Yardstick

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from batchfront.study.trials.costs import Costs

MAX_CURVES = 400  # learned from: the newest


class Run(NamedTuple):
    """A completed run, as a history has it."""

    number: int
    curve: list[float]  # to its end: where it ended early, what it was told with stays
    values: list[float]  # as told, at known cost
    log2_batch_size: float
    log2_learning_rate: float
    weight: float


class Curves:
    """Completed trials with a curve, by its length, in the order of their numbers.

    A run whose batch size grew where the others' did not says nothing about theirs.
    """

    def __init__(self, costs: Costs, trials: Iterable[FrozenTrial] = ()) -> None:
        self._costs = costs
        self._by_length: dict[int, list[Run]] = {}
        self.add(trials)

    def add(self, trials: Iterable[FrozenTrial]) -> None:
        """Take completed trials that were not there before."""
        for trial in trials:
            if trial.user_attrs.get(CURVE) and SCHEDULE not in trial.user_attrs:
                run = self._run(trial)
                same = self._by_length.setdefault(len(run.curve), [])
                insort(same, run, key=attrgetter("number"))

    def _run(self, trial: FrozenTrial) -> Run:
        attributes = trial.user_attrs
        curve: list[float] = attributes[CURVE]
        planned = length_of(attributes)
        if planned is not None and ended_early(trial):
            curve = curve + [trial.values[0]] * (n_points(planned.points) - len(curve))
        return Run(
            number=trial.number,
            curve=curve,
            values=at_known_cost(trial, self._costs).values,
            log2_batch_size=log2_batch_size_of(trial.params),
            log2_learning_rate=log2_rate_of(trial),
            weight=1 / SPARED_SHARE if SPARED in attributes else 1.0,
        )

    def history(self, yardstick: Yardstick = AS_IT_IS) -> History | None:
        """Curves of the most common length, the newest `MAX_CURVES`; None when there are none.

        Standard values, by `yardstick`. A spared run stands for all that were stopped as it would
        have been.
        """
        import numpy as np

        if not self._by_length:
            return None
        usual = max(self._by_length.values(), key=lambda same: (len(same), -same[0].number))
        _, curves, values, sizes, rates, weight = zip(*usual[-MAX_CURVES:], strict=True)
        metric, seconds, memory = np.array(values, dtype=float).T
        return History(
            curves=yardstick.standard(np.array(curves, dtype=float)),
            final=np.maximum(yardstick.standard(metric), LOWEST),
            log2_batch_size=np.array(sizes),
            log2_learning_rate=np.array(rates),
            train_seconds=seconds,
            peak_memory_bytes=memory,
            weight=np.array(weight),
        )
