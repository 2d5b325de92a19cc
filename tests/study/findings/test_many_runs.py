"""What is thinned out of many runs changes nothing that is said of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from batchfront.study.findings.overview import figures
from batchfront.study.findings.page.projections import projections
from batchfront.study.findings.rates import best
from batchfront.study.findings.rates.best import RateEstimate, best_rate
from batchfront.study.findings.statistics import trends


def _runs(n: int) -> tuple[list[float], list[float]]:
    draw = np.random.default_rng(0)
    rates = 10 ** draw.uniform(-4, 0, n)
    errors = 0.05 * np.exp((np.log10(rates) + 1.7) ** 2) * np.exp(draw.normal(0, 0.05, n))
    return rates.tolist(), np.where(rates > 0.5, math.inf, errors).tolist()


@pytest.mark.slow
def test_rates_that_are_gathered_have_the_best_that_they_have_alone(monkeypatch):
    rates, errors = _runs(250)
    gathered = best_rate(rates, errors)
    monkeypatch.setattr(best, "MOST_RATES", 1000)
    alone = best_rate(rates, errors)
    assert isinstance(gathered, RateEstimate)
    assert isinstance(alone, RateEstimate)
    assert gathered.n_rates == alone.n_rates == 250
    assert gathered.n_runs == alone.n_runs == 250
    assert gathered.tried == alone.tried
    assert gathered.edge == alone.edge
    for name in ("best", "low", "high"):
        apart = math.log10(getattr(gathered, name) / getattr(alone, name))
        assert abs(apart) < 0.06, name  # a grid's step is 0.05 decades
    assert gathered.error == pytest.approx(alone.error, abs=0.003)


def test_few_rates_are_not_gathered(monkeypatch):
    rates, errors = _runs(best.MOST_RATES)
    monkeypatch.setattr(best, "_gathered", lambda x: pytest.fail("gathered"))
    assert isinstance(best_rate(rates, errors), RateEstimate)


def test_portions_draw_what_is_drawn_at_once(monkeypatch):
    draw = np.random.default_rng(1)
    groups = {size: draw.normal(size, 3, 30).tolist() for size in (1, 2, 4, 8)}
    pairs = [list(zip(v, draw.permutation(v), strict=True)) for v in groups.values()]
    overall = trends.rank_correlation(pairs, 0.99, seed=0)
    within = trends.within_correlation(pairs, 0.99, seed=0)
    monkeypatch.setattr(trends, "AT_ONCE", 7 * 120)
    # Groups are drawn in turn in each portion: other resamples of the same runs.
    for found, wanted in (
        (trends.rank_correlation(pairs, 0.99, seed=0), overall),
        (trends.within_correlation(pairs, 0.99, seed=0), within),
    ):
        assert wanted is not None
        assert found is not None
        assert found[0] == wanted[0]
        assert found == pytest.approx(wanted, abs=0.1)


def test_of_more_values_fewer_are_drawn_but_never_too_few():
    assert sum(trends._portions(4000, 100)) == 4000
    assert sum(trends._portions(4000, 10_000)) == trends.MOST_DRAWN // 10_000
    assert sum(trends._portions(4000, 10**6)) == trends.FEWEST
    assert max(trends._portions(4000, 10_000)) * 10_000 <= trends.AT_ONCE


def test_a_figure_draws_some_of_many_points_and_says_so(monkeypatch):
    monkeypatch.setattr(figures, "MOST_DRAWN", 10)
    points = list(range(33))
    drawn = figures.thinned(points)
    assert len(drawn) == 10
    assert drawn[0] == 0
    assert {b - a for a, b in itertools.pairwise(drawn)} == {3, 4}
    assert figures.thinned(points[:10]) == points[:10]
    assert figures.legend("completed", points) == "completed (10 of 33 drawn)"


def test_what_is_not_drawn_counts_for_bests_cells_and_fronts(monkeypatch):
    trials = [_completed(n) for n in range(40)]
    names = ("val_accuracy", "train_seconds", "peak_memory_bytes")
    whole = figures.best_per_batch_size(trials, names).data[1].y
    cells = figures.heat_map(trials, names).data[0].z
    fronts = [len(trace.x) for trace in projections(trials, names).data[1::2]]
    monkeypatch.setattr(figures, "MOST_DRAWN", 5)
    assert figures.best_per_batch_size(trials, names).data[1].y == whole
    assert len(figures.best_per_batch_size(trials, names).data[0].y) == 5
    assert np.array_equal(figures.heat_map(trials, names).data[0].z, cells, equal_nan=True)
    thin = projections(trials, names).data
    assert [len(trace.x) for trace in thin[1::2]] == fronts
    assert {len(trace.x) for trace in thin[::2]} == {5}


def _completed(n: int) -> optuna.trial.FrozenTrial:
    trial = optuna.create_trial(
        values=[(n * 7 % 40) / 40, 1.0 + n % 5, 1000.0],
        params={"log2_batch_size": n % 4, "learning_rate": 10 ** -(1 + n % 3)},
        distributions={
            "log2_batch_size": IntDistribution(0, 9),
            "learning_rate": FloatDistribution(1e-6, 1.0, log=True),
        },
    )
    trial.number = n
    return trial
