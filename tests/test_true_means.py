"""What is the truth of a table, and how wrong the truth itself may be."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.true_means import Judged, least_bias


def told(point: tuple[int, float], error: float, times: int) -> list[Judged]:
    return [Judged(columns={}, point=point, error=error)] * times


def test_a_promise_of_the_truth_is_biased_by_the_errors_of_recorded_means():
    studies = told((8, 0.1), 0.5, 6) + told((16, 0.1), 0.3, 2)

    rng = np.random.default_rng(0)
    errors = rng.normal(0, [0.5, 0.3], (200_000, 2))  # of the two points' means, in many worlds
    sizes = abs(errors @ [6 / 8, 2 / 8])

    assert least_bias(studies) == pytest.approx(sizes.mean(), rel=0.01)
