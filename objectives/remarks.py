"""What a run may say of itself beside its losses and metrics."""

from __future__ import annotations

import math
from typing import Any

from batchfront.objectives.measurement import ObjectiveError


class Remarks:
    """The part of `Run` that takes them down."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
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

    def scored(self, test_accuracy: float) -> None:
        """Note the metric on the test split after the last epoch, where `params.score_test`.

        Raises:
            ObjectiveError: the metric is out of range: accuracy is a fraction 0..1.
        """
        self._check_range(float(test_accuracy), "run.scored")
        self._test_metric = float(test_accuracy)

    def _check_range(self, value: float, where: str = "run.report") -> None:
        if not math.isfinite(value) or (value <= 1 and (value >= 0 or self.metric == "val_r2")):
            return
        wanted = "at most 1" if self.metric == "val_r2" else "a fraction between 0 and 1"
        raise ObjectiveError(f"{where} got {self.metric}={value:g}, wanted {wanted}")


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
