"""How far a run may still rise, learned from the runs before it."""

from __future__ import annotations

import numpy as np
import pytest

from batchfront.study.pruning.bound import DEFAULT_MARGIN, Bound, History

from ..curves import EPOCHS, rising


def _history(curves, *, sizes=None, weight=None) -> History:
    curves = np.array(curves, dtype=float)
    n = len(curves)
    return History(
        curves=curves,
        final=curves[:, -1],
        log2_batch_size=np.zeros(n) if sizes is None else np.log2(sizes),
        log2_learning_rate=np.zeros(n),
        train_seconds=np.ones(n),
        peak_memory_bytes=np.ones(n),
        weight=np.ones(n) if weight is None else np.array(weight, dtype=float),
    )


def test_the_bound_of_a_run_like_the_others_lies_above_where_they_ended():
    draw = np.random.default_rng(0)
    curves = [np.array(rising(0.9)) + draw.normal(0, 0.01, EPOCHS) for _ in range(40)]
    learned = Bound(_history(curves[:-1]))
    bounds = [learned.upper(curves[-1][:n], 0.0, margin=3.0) for n in range(2, EPOCHS)]
    assert min(bounds) > 0.9
    assert bounds[-1] < 1.0


def test_a_bound_rises_with_the_margin_and_a_margin_falls_with_the_risk():
    draw = np.random.default_rng(0)
    history = _history(
        [np.array(rising(draw.uniform(0.5, 0.9))) + draw.normal(0, 0.02, 10) for _ in range(60)]
    )
    learned = Bound(history)
    bounds = [learned.upper(history.curves[0, :4], 0.0, margin=m) for m in (0, 1, 2, 3)]
    assert bounds == sorted(bounds)
    margins = [learned.margin(risk) for risk in (0.001, 0.01, 0.05, 0.2, 0.5)]
    assert margins == sorted(margins, reverse=True)
    assert margins[0] > margins[-1]


def test_the_margin_is_the_conformal_quantile_of_the_scores():
    """At (1 - risk)(n + 1) of n scores, as in split conformal prediction."""
    learned = Bound(_history([rising(0.9)] * 2))
    scores = np.linspace(5, 0.05, 100)
    learned.__dict__["_scores"] = (scores, np.ones(100))
    for risk in (0.05, 0.1, 0.3):
        allowed = int(np.floor(risk * 101)) - 1  # the run to be judged may be one of them
        assert learned.margin(risk) == scores[allowed]
        assert (scores > learned.margin(risk)).mean() <= risk
    assert learned.margin(0.001) > scores[0], "beyond what has been seen"


def test_without_a_record_that_had_a_rival_the_margin_is_the_default():
    learned = Bound(_history([rising(0.9)]))
    assert learned.margin(0.02) == DEFAULT_MARGIN


def test_a_record_is_judged_without_its_own_curve():
    """The last of these ends high out of nothing: no other curve would have foretold that."""
    flat, late = [0.5] * EPOCHS, [0.5] * (EPOCHS - 1) + [0.9]
    learned = Bound(_history([rising(0.7), *[flat] * 12, late]))
    assert learned.margin(0.02) > 50
    assert Bound(_history([rising(0.7), *[flat] * 12])).margin(0.02) < 10


def test_records_are_judged_by_the_runs_before_them_that_cost_no_more():
    history = History(
        curves=np.zeros((4, 3)),
        final=np.array([0.5, 0.7, 0.6, 0.9]),
        log2_batch_size=np.zeros(4),
        log2_learning_rate=np.zeros(4),
        train_seconds=np.array([1.0, 2.0, 1.0, 0.5]),
        peak_memory_bytes=np.array([1.0, 1.0, 2.0, 3.0]),
        weight=np.ones(4),
    )
    assert list(history.rivals) == [-np.inf, 0.5, 0.5, -np.inf]


def test_an_absurd_r2_does_not_rule_the_scales():
    calm = [rising(0.9)] * 15
    wild = [[-1e9] * 9 + [0.1]]
    plain, disturbed = Bound(_history(calm)), Bound(_history(calm + wild))
    curve = np.array(rising(0.9)[:5])
    found = disturbed.upper(curve, 0.0, margin=2.0)
    assert found == pytest.approx(plain.upper(curve, 0.0, margin=2.0), abs=0.1)
