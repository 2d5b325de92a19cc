"""One notion of error for every metric: how far it is from the best there can be.

Whatever decides looks at *standard* values: 1 is perfect, 0 is useless, more is better. A fraction
that is maximized is its own standard value. With another bound it is the share of it; where the
bound is 0 or unknown, the distance to it, or to a floor below all that was seen, in units of what a
useless run is away from it. Shifting or scaling a metric shifts and scales the floor and the unit,
so the standard values stay.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.metric import ACCURACY, COMMON, Direction, Metric
from batchfront.study.errors import StudyError
from batchfront.study.trials.attributes import (
    AGREEMENT,
    CONSTANT_METRIC,
    CURVE,
    MINIMIZED,
    OBJECTIVES,
    STORED_METRIC,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

TIE = 0.005
"""Errors are compared as log(error + TIE): below it, differences are a few validation examples."""
BEYOND = 0.25
"""The floor lies so far beyond the best run, in distances of that to the median run."""


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """Standard value = offset + factor * value; the factor is negative for what is minimized."""

    metric: Metric
    factor: float = 1.0
    offset: float = 0.0
    knows_useless: bool = True
    """Whether 0 is the value of a useless run; else it is that of the median run."""

    @property
    def is_identity(self) -> bool:
        """Whether values are standard as they are."""
        return self.factor == 1.0 and self.offset == 0.0

    def standard(self, value: Any) -> Any:
        """The standard value of a value, or those of an array."""
        return value if self.is_identity else self.offset + self.factor * value

    def own(self, standard: Any) -> Any:
        """The metric's value that has this standard value."""
        return standard if self.is_identity else (standard - self.offset) / self.factor

    def own_difference(self, standard: Any) -> Any:
        """The difference in the metric that makes this one of standard values."""
        return standard if self.is_identity else standard / self.factor

    def own_ends(self, low: float | None, high: float | None) -> tuple[Any, Any]:
        """An interval of standard values as one of the metric's, its lower end first."""
        if low is None or high is None:
            return low, high
        ends = self.own(low), self.own(high)
        return min(ends), max(ends)

    def possible_ends(self, low: float | None, high: float | None) -> tuple[Any, Any]:
        """The same, without values that the metric cannot have."""
        low, high = self.own_ends(low, high)
        if low is None or high is None:
            return low, high
        return self.metric.possible(low), self.metric.possible(high)

    def of_trial(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial with the standard values of its metric, its curve too."""
        if self.is_identity:
            return trial
        found, attributes = copy.copy(trial), dict(trial.user_attrs)
        if trial.values is not None:
            found.values = [self.standard(trial.values[0]), *trial.values[1:]]
        if attributes.get(CURVE):
            attributes[CURVE] = [self.standard(value) for value in attributes[CURVE]]
        found.user_attrs = attributes
        return found


AS_IT_IS = Yardstick(metric=ACCURACY)


class Objectives(tuple[str, ...]):
    """The names of a study's objectives, in its order, which know their metric."""

    metric: Metric | None = None

    def yardstick(self, trials: Iterable[FrozenTrial]) -> Yardstick:
        """The yardstick for what these trials have shown; it changes nothing without a metric."""
        return AS_IT_IS if self.metric is None else yardstick_of(self.metric, trials)

    @staticmethod
    def of(study: Study) -> Objectives:
        """Those that are stored; older studies of ours had no names."""
        found = Objectives(study.metric_names or OBJECTIVES)
        recorded = STORED_METRIC in study.user_attrs.get(AGREEMENT, {})
        found.metric = None if found[0] in MINIMIZED and not recorded else metric_in(study)
        return found


def is_minimized(name: str, names: Sequence[str]) -> bool:
    """Whether less of an objective is better, of the objectives `names`."""
    metric = getattr(names, "metric", None)
    if metric is not None and name == metric.name:
        return not metric.maximize
    return name in MINIMIZED


def standard(trials: Iterable[FrozenTrial], yardstick: Yardstick) -> list[FrozenTrial]:
    """The trials with standard values of their metric."""
    return [yardstick.of_trial(trial) for trial in trials]


def check_target(target: float | None, metric: Metric) -> None:
    """Raise StudyError for one that no value can reach, such as a fraction in percent."""
    try:
        if target is not None:
            metric.check_value(target, "target")
    except ObjectiveError as error:
        raise StudyError(str(error)) from None


def metric_in(study: Study) -> Metric:
    """What the study is about: as it is stored, or the usual metric of that name."""
    name = (study.metric_names or OBJECTIVES)[0]
    known = metric_of_record(study.user_attrs.get(AGREEMENT, {}), name)
    return known or Metric(name, direction=_direction_of(study))


def _direction_of(study: Study) -> Direction:
    return "maximize" if study.directions[0].name == "MAXIMIZE" else "minimize"


def metric_of_record(record: Mapping[str, Any], name: str | None = None) -> Metric | None:
    """The metric in a study's record; None where it is unusual, and not recorded."""
    name = name or record["objectives"][0]
    if STORED_METRIC in record:
        return Metric(name, **record[STORED_METRIC])
    return COMMON.get(name)


def stored_metric(metric: Metric) -> dict[str, Any]:
    """What a study's record holds of its metric; nothing of a usual one, as in older studies."""
    usual = COMMON.get(metric.name)
    said = {"direction": metric.direction, "bound": metric.bound, "worst": metric.worst}
    same = usual is not None and all(getattr(usual, key) == value for key, value in said.items())
    return {} if same and usual in (ACCURACY, COMMON["val_r2"]) else {STORED_METRIC: said}


def yardstick_of(metric: Metric, trials: Iterable[FrozenTrial]) -> Yardstick:
    """The yardstick for what these trials have shown."""
    return Scale(metric, trials).yardstick()


class Scale:
    """Finds the yardstick of one metric; goes through each trial once."""

    def __init__(self, metric: Metric, trials: Iterable[FrozenTrial] = ()) -> None:
        self.metric = metric
        # Rising, and larger is better: of completed runs, first epochs, constant predictions.
        self._finals: list[float] = []
        self._starts: list[float] = []
        self._constants: list[float] = []
        self.add(trials)

    def add(self, trials: Iterable[FrozenTrial]) -> None:
        """Take trials that were not there before."""
        if self._is_share:
            return
        groups = (self._finals, self._starts, self._constants)
        for trial in trials:
            curve = (v for v in trial.user_attrs.get(CURVE) or () if math.isfinite(v))
            constant = trial.user_attrs.get(CONSTANT_METRIC)
            final = None if trial.values is None else trial.values[0]
            for group, value in zip(groups, (final, next(curve, None), constant), strict=True):
                if value is not None and math.isfinite(value):
                    group.append(self.metric.good(value))
        for group in groups:
            group.sort()

    def yardstick(self) -> Yardstick:
        """The yardstick for what these trials have shown."""
        metric, bound = self.metric, self.metric.bound
        if bound is not None and self._is_share:
            return Yardstick(metric=metric, factor=1 / bound)
        floor, useless = self._ends()
        perfect = metric.good(bound) if bound is not None else floor
        unit = perfect - useless
        if not unit > 0:
            unit = 1.0
        sign = 1.0 if metric.maximize else -1.0
        return Yardstick(
            metric=metric,
            factor=sign / unit,
            offset=1 - perfect / unit,
            knows_useless=bool(self._constants or self._starts),
        )

    @property
    def _is_share(self) -> bool:
        """Whether a standard value is the share of a bound: then no distance is needed."""
        return self.metric.bound is not None and self.metric.good(self.metric.bound) > 0

    def _ends(self) -> tuple[float, float]:
        """Goods: the floor in front of the best one, and what a useless run has."""
        finals = self._finals or self._starts or self._constants or [0.0]
        best = finals[-1]
        useless = min(_usual(self._constants, self._starts, finals), best)
        away = best - min(best, median(finals)) or best - useless
        return best + BEYOND * away, useless


def _usual(*groups: Sequence[float]) -> float:
    return next((median(group) for group in groups if group), 0.0)
