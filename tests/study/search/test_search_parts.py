"""What the cost-aware sampler is made of, each against a slower way to the same answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batchfront.objectives.parameter import Parameter
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.gains import EDGE, Plane, expected_below
from batchfront.study.search.prices import Prices
from batchfront.study.search.surface import Guess, Surface, fit_shape, usual_shape
from batchfront.study.trials.yardstick import TIE
from benchmarks.hypervolume import hypervolume

from ..known import costs_by

WORST = 0.8
OWN = {
    "width": Parameter(low=8, high=512, log=True),
    "dropout": Parameter(low=0.0, high=0.5, bears_cost=False),
    "activation": Parameter(choices=("relu", "tanh", "gelu"), bears_cost=False),
    "depth": Parameter(low=1, high=4),
}


def _points(draw, n):
    """Scaled costs, (n, 2), and errors, (n,)."""
    return draw.random((n, 2)), draw.random(n)


def _volume(costs, error):
    points = [(e, t, m) for (t, m), e in zip(costs, error, strict=True)]
    return hypervolume(points, (WORST, EDGE, EDGE))


def test_what_is_expected_below_a_level_is_the_mean_of_many_draws():
    draw = np.random.default_rng(0)
    guess = Guess(mean=np.array([-3.0, -1.0]), deviation=np.array([0.3, 1.0]))
    levels = np.array([0.01, 0.05, 0.4])
    error = np.exp(guess.mean + guess.deviation * draw.standard_normal((400_000, 2))) - TIE
    expected = np.maximum(levels[:, None] - error[:, None], 0).mean(axis=0).T
    assert expected_below(guess, levels) == pytest.approx(expected, rel=0.02, abs=1e-6)


def test_the_volume_of_the_plane_is_the_hypervolume():
    draw = np.random.default_rng(1)
    for n in (1, 2, 12):
        costs, error = _points(draw, n)
        plane = Plane(costs, error, corners=draw.random((5, 2)), worst=WORST)
        assert plane.volume == pytest.approx(_volume(costs, error))


def test_a_gain_that_is_certain_is_the_difference_of_two_hypervolumes():
    draw = np.random.default_rng(2)
    costs, error = _points(draw, 8)
    corners, reached = _points(draw, 20)
    guess = Guess(mean=np.log(reached + TIE), deviation=np.full(20, 1e-9))
    plane = Plane(costs, error, corners=corners, worst=WORST)
    gains = plane.expected_gains(guess, corners, np.arange(20))
    before = _volume(costs, error)
    brute = [
        _volume(np.vstack([costs, corner]), np.append(error, e)) - before
        for corner, e in zip(corners, reached, strict=True)
    ]
    assert gains == pytest.approx(brute, abs=1e-6)
    assert max(brute) > 0.05, "nothing to see"


def test_an_expected_gain_is_the_mean_over_many_draws():
    draw = np.random.default_rng(3)
    costs, error = _points(draw, 6)
    corners = draw.random((3, 2))
    guess = Guess(mean=np.log([0.05, 0.2, 0.5]), deviation=np.array([0.5, 0.8, 0.3]))
    plane = Plane(costs, error, corners=corners, worst=WORST)
    gains = plane.expected_gains(guess, corners, np.arange(3))
    before = _volume(costs, error)
    for n in range(3):
        logs = guess.mean[n] + guess.deviation[n] * draw.standard_normal(3000)
        drawn = [
            _volume(np.vstack([costs, corners[n]]), np.append(error, max(e, -TIE))) - before
            for e in np.exp(logs) - TIE
        ]
        assert gains[n] == pytest.approx(np.mean(drawn), rel=0.1)


def _bowl(x, *, tilt):
    """Log error with its least on log2(rate) = tilt * log2(size) - 8."""
    return -3.0 + 0.15 * (x[:, 1] + 8 - tilt * x[:, 0]) ** 2


@pytest.mark.parametrize("tilt", [0.0, 0.5, 1.0])
def test_the_shape_finds_how_the_best_rate_rises_with_the_batch_size(tilt):
    draw = np.random.default_rng(0)
    x = np.column_stack([draw.integers(5, 10, 32), draw.uniform(-13, 1, 32)]).astype(float)
    y = _bowl(x, tilt=tilt) + 0.05 * draw.standard_normal(32)
    shape = fit_shape(x, y, np.zeros(32))
    assert shape.tilt == tilt


def test_what_is_learned_at_large_sizes_holds_at_small_ones():
    """Batch size 1 was never run; its best rate is 8 doublings below that of 256."""
    draw = np.random.default_rng(0)
    x = np.column_stack([draw.integers(5, 10, 32), draw.uniform(-13, 1, 32)]).astype(float)
    y = _bowl(x, tilt=0.75) + 0.05 * draw.standard_normal(32)
    surface = Surface(x, y, np.zeros(32), fit_shape(x, y, np.zeros(32)))
    rates = np.linspace(-14, 2, 100)
    guess = surface.guess(np.column_stack([np.zeros(100), rates]))
    assert rates[guess.mean.argmin()] == pytest.approx(-8, abs=1)
    assert guess.deviation[guess.mean.argmin()] > surface.guess(x).deviation.max(), "it knows"


def test_a_surface_trusts_noisy_observations_less():
    x = np.array([[4.0, -5.0], [4.0, -5.0], [8.0, -1.0]])
    y = np.array([-3.0, -1.0, -2.0])
    noise = np.array([0.0, 1.0, 0.0])
    mean = Surface(x, y, noise, usual_shape(2)).guess(x[:1]).mean[0]
    assert mean == pytest.approx(-3.0, abs=0.1)


@pytest.mark.parametrize("search", [{}, OWN])
def test_every_candidate_survives_the_way_to_optuna_and_back(search):
    space = SearchSpace(search=search)
    encoding = Encoding(space)
    draw = np.random.default_rng(0)
    good = np.array([encoding.start(4.0, n, 0.3, draw) for n in range(5)])
    rows = encoding.candidates([1, 64, 512], good, draw)
    assert rows.shape[1] == encoding.n_columns
    distributions = space.distributions()
    for row in rows[:: len(rows) // 60]:
        params = encoding.params(row.tolist())
        assert encoding.knows(params)
        for name, value in params.items():
            distribution = distributions[name]
            assert distribution._contains(distribution.to_internal_repr(value)), (name, value)
        assert encoding.row(params) == pytest.approx(row.tolist(), abs=1e-9)


def test_the_start_fills_the_learning_rates():
    encoding = Encoding(SearchSpace(learning_rates=(2.0**-10, 1.0)))
    draw = np.random.default_rng(0)
    rates = [encoding.start(0.0, n, 0.0, draw)[1] for n in range(8)]
    assert {int(rate + 10) // 2 for rate in rates} == {0, 1, 2, 3, 4}, "a fifth was left out"


def _costs(sizes):
    return costs_by(lambda size: (64 / size, 1000 * size), sizes)


def test_prices_are_the_probes_and_lie_on_a_line_between_them():
    prices = Prices(_costs([1, 4, 64]), costly=[], probed=[0.0, 0.0])
    x = np.array([[0.0, 0.0], [1.0, -3.0], [2.0, 0.0], [6.0, 0.0]])
    assert prices.of(x) == pytest.approx(
        np.array([[64, 1000], [32, 2000], [16, 4000], [1, 64_000]])
    )


def test_without_any_probe_small_sizes_are_dear_and_large_ones_big():
    seconds, memory = Prices({}, costly=[], probed=[0.0, 0.0]).of(np.array([[0.0, 0], [9, 0]])).T
    assert seconds[0] > seconds[1]
    assert memory[0] < memory[1]


def test_what_a_parameter_of_the_task_costs_is_learned_from_trials():
    """Four times the time and twice the memory from one end of `width` to the other."""
    space = SearchSpace(search={"width": OWN["width"], "dropout": OWN["dropout"]})
    encoding = Encoding(space)
    prices = Prices(_costs([1, 64]), costly=encoding.costly, probed=encoding.probed_row())
    draw = np.random.default_rng(0)
    x = np.column_stack([draw.integers(0, 7, 40), draw.uniform(-9, 0, 40), draw.random((40, 2))])
    off = x[:, 2] - encoding.probed_row()[2]
    costs = np.column_stack([64 / 2 ** x[:, 0] * 4**off, 1000 * 2 ** x[:, 0] * 2**off])
    prices.learn(x, costs)
    assert prices.of(x) == pytest.approx(costs, rel=0.05)
    assert encoding.costly == [2], "dropout bears no cost"


def test_ranges_say_where_a_value_lies():
    width = OWN["width"]
    assert (width.value(0.0), width.value(0.5), width.value(1.0)) == (8, 64, 512)
    assert width.share(64) == pytest.approx(0.5)
    assert math.isclose(OWN["dropout"].share(OWN["dropout"].value(0.3)), 0.3)
