"""A run whose own peak differs from what its size's probe has measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from batchfront.objectives.measurement import Verdict
from batchfront.study.trials.costs import SizeCost
from batchfront.study.trials.outcome import memory_off

KNOWN = SizeCost(
    batch_size=8,
    step_seconds=1e-3,
    peak_memory_bytes=1000,
    predicted_peak_memory_bytes=None,
    total_steps=10,
)


def measured(peak: int, verdict: Verdict = Verdict.COMPLETED) -> Any:
    return SimpleNamespace(verdict=verdict, peak_memory_bytes=peak)


@pytest.mark.parametrize(
    ("peak", "off"), [(1000, None), (1050, None), (1060, 0.06), (900, -0.1), (0, None)]
)
def test_a_twentieth_is_much_and_a_peak_that_nobody_measured_is_none(peak, off):
    assert memory_off(measured(peak), KNOWN) == off


def test_stopped_runs_and_unknown_sizes_say_nothing():
    assert memory_off(measured(2000, Verdict.DIVERGED), KNOWN) is None
    assert memory_off(measured(2000), None) is None
