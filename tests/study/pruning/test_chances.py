"""How likely a run is to end as well as another, learned from the completed runs of a study."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batchfront.study.pruning.bound import History
from batchfront.study.pruning.chances import Chances
from batchfront.study.trials.yardstick import TIE

EPOCHS = 8


def _history(curves, *, log2_batch_size=None, log2_learning_rate=None) -> History:
    curves = np.array(curves, dtype=float)
    none = np.zeros(len(curves))
    return History(
        curves=curves,
        final=curves[:, -1],
        log2_batch_size=none if log2_batch_size is None else np.array(log2_batch_size),
        log2_learning_rate=none if log2_learning_rate is None else np.array(log2_learning_rate),
        train_seconds=none + 1,
        peak_memory_bytes=none + 1,
        weight=none + 1,
    )


def _falling(start: float, fall: float) -> list[float]:
    """Standard values whose error falls by a factor each epoch."""
    return [1 - start * fall**epoch for epoch in range(EPOCHS)]


def _noisy(draw, n, *, scatter):
    """Curves that fall alike, each to an end of its own."""
    curves = []
    for _ in range(n):
        curve = np.array(_falling(draw.uniform(0.2, 0.8), 0.9))
        curve[-1] = 1 - (1 - curve[-1]) * math.exp(draw.normal(0, scatter))
        curves.append(curve)
    return curves


@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_run_like_the_others_ends_as_far_on_as_they_did(after):
    starts = np.linspace(0.2, 0.8, 40)
    chances = Chances(_history([_falling(start, 0.8) for start in starts]))
    curve = np.array(_falling(0.4, 0.8))
    guess = chances.guess(curve[:after], 0.0, 0.0)
    assert guess.middle == pytest.approx(curve[-1], abs=0.02)


def test_chances_are_the_shares_of_runs_that_get_there():
    draw = np.random.default_rng(0)
    chances = Chances(_history(_noisy(draw, 400, scatter=0.3)))
    said, got = [], []
    for curve in _noisy(draw, 400, scatter=0.3):
        rival = 1 - (1 - curve[4]) * 0.6
        said.append(math.exp(chances.guess(curve[:5], 0.0, 0.0).log_chance(rival)))
        got.append(curve[-1] >= rival)
    assert np.mean(said) == pytest.approx(np.mean(got), abs=0.05)
    assert 0.2 < np.mean(got) < 0.8


def test_runs_of_like_sizes_and_rates_count_most():
    """Half of the runs stay where they are: those of small batches, or of low rates."""
    curves = [_falling(0.5, 1.0)] * 20 + [[0.5] * 4 + [0.9] * 4] * 20
    apart = [0.0] * 20 + [9.0] * 20
    for settings in ("log2_batch_size", "log2_learning_rate"):
        chances = Chances(_history(curves, **{settings: apart}))
        low, high = (
            chances.guess(np.full(4, 0.5), *(far, 0.0) if "size" in settings else (0.0, far))
            for far in (0.0, 9.0)
        )
        assert low.middle == pytest.approx(0.5, abs=0.02)
        assert high.middle == pytest.approx(0.9, abs=0.02)


def test_where_no_run_was_alike_an_error_is_believed_to_stay_give_or_take():
    chances = Chances(_history([_falling(0.01, 0.5)] * 20, log2_learning_rate=[30.0] * 20))
    guess = chances.guess(np.full(4, 0.2), 0.0, 0.0)
    assert guess.middle == pytest.approx(0.2)
    assert guess.deviation == pytest.approx(math.sqrt(0.5))


def test_chances_far_out_are_no_zero():
    chances = Chances(_history([_falling(0.5, 0.9)] * 20))
    guess = chances.guess(np.array(_falling(0.5, 0.9)[:4]), 0.0, 0.0)
    assert -math.inf < guess.log_chance(0.9999) < -100
    assert guess.log_chance(-1.0) == pytest.approx(0.0)


def test_errors_within_a_few_validation_examples_are_ties():
    chances = Chances(_history([_falling(1e-6, 1.0)] * 20))
    guess = chances.guess(np.ones(4), 0.0, 0.0)
    assert guess.mean == pytest.approx(math.log(TIE), abs=1e-3)
    assert math.exp(guess.log_chance(1.0)) == pytest.approx(0.5, abs=0.01)


def test_runs_that_fall_alike_count_most():
    """Half of the runs still fall at an error at which the others have come to rest."""
    still = [[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]] * 20
    rest = [[0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]] * 20
    chances = Chances(_history([*still, *rest]))
    for curves in (still, rest):
        assert chances.guess(np.array(curves[0][:4]), 0.0, 0.0).middle == pytest.approx(
            curves[0][-1], abs=0.05
        )


def test_runs_as_restless_count_most():
    """The restless half falls back in the end, from the same error and slope."""
    calm = [[0.5] * 7 + [0.6]] * 20
    restless = [[0.3, 0.7, 0.5, 0.5, 0.3, 0.7, 0.5, 0.2]] * 20
    chances = Chances(_history([*calm, *restless]))
    for curves in (calm, restless):
        assert chances.guess(np.array(curves[0][:7]), 0.0, 0.0).middle == pytest.approx(
            curves[0][-1], abs=0.06
        )
