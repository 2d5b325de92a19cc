"""What a run may say of itself beside its losses and metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from batchfront.objectives.measurement import MetricError
from batchfront.objectives.metric import R2, Metric, as_metric

OLD_NAME, OLD_TRAIN_NAME = "val_accuracy", "train_accuracy"  # while there was no other metric
Said = dict[str, float]  # by name


class Remarks:
    """The part of `Run` that takes them down."""

    def __init__(self, metric: str | Metric | None) -> None:
        self.metric = as_metric(metric)
        self._test_metric: float | None = None
        self._recorded: tuple[float, int] | None = None  # seconds a step and peak bytes
        self._diagnosed: dict[str, float | None] = {}
        self._techniques: dict[str, Any] = {}

    def told_cost(self, *, step_seconds: float, peak_memory_bytes: int) -> None:
        """Say what the run cost when it was recorded: a replay trains nothing to be measured."""
        self._recorded = step_seconds, peak_memory_bytes

    def diagnosed(
        self,
        *,
        weight_norm: float | None = None,
        distance_from_init: float | None = None,
        sharpness: float | None = None,
    ) -> None:
        """Note the diagnostics that `params.diagnostics` asks for, after the last epoch.

        See objectives/gradients/diagnose.py for what they are.

        Compute them inside `validating()`.
        """
        found = {
            "weight_norm": weight_norm,
            "distance_from_init": distance_from_init,
            "sharpness": sharpness,
        }
        self._diagnosed = {name: value for name, value in found.items() if _is_number(value)}

    def trained_with(self, **facts: Any) -> None:
        """What is to be known of how it trained, under the names of TECHNIQUE_FACTS."""
        self._techniques.update(facts)

    def scored(self, test_metric: float) -> None:
        """Note the metric on the test split after the last epoch, where `params.score_test`.

        Raises:
            MetricError: the metric is out of range, say a fraction in percent.
        """
        self.metric.check_value(float(test_metric), "run.scored")
        self._test_metric = float(test_metric)

    def _told(self, value: float | None, named: Mapping[str, Any]) -> tuple[float, Said]:
        """The metric of an epoch, and what else was said of it.

        Raises:
            MetricError: the metric is missing or out of range, or another is no number.
        """
        said = {name: _number(name, one) for name, one in named.items() if one is not None}
        for name in (self.metric.name, *([OLD_NAME] if self.metric is R2 else [])):
            value = said.pop(name, None) if value is None else _number(name, value)
        if value is None:
            got = f"{', '.join(said)} alone" if said else "nothing"
            raise MetricError(f"run.report got {got}, wanted {self.metric} too")
        self.metric.check_value(value, "run.report")
        return value, said


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise MetricError(f"run.report got {name}={value!r}, wanted a number") from None


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
