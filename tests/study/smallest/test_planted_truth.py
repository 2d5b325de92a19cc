"""Where the smallest effective batch size is known, it is found; else nobody guesses."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from threadpoolctl import threadpool_limits

from benchmarks.worlds.ladders import LADDERS, SIZES, Ladder, question
from benchmarks.worlds.walked import simulate, verdict

NONE = 10**9  # larger than any size
ONE_BY_ONE_AND_IN_ROUNDS = pytest.mark.parametrize(
    "fused", [None, {1: True}], ids=["alone", "fused"]
)


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):  # tiny matrices: threads would only wait for each other
        yield


def planted(seed: int) -> tuple[int | None, Ladder]:
    """A world of the seed's own shape, and the truth; success at least .98, or at most .5."""
    draw = random.Random(seed)
    truth = draw.choice([*SIZES[:8], NONE])
    good, bad = draw.choice([0.98, 0.99, 0.999]), draw.choice([0.5, 0.3, 0.05])
    world = Ladder(
        success=lambda size: good if size >= truth else bad,
        noise=draw.choice([0.05, 0.15, 0.3]),
        bottom=draw.uniform(-8, 0),
        tilt=draw.choice([0.0, 0.3, 0.5, 1.0]),
        bend=draw.choice([0.02, 0.05, 0.1, 0.2]),
        cliff=draw.choice([1.5, 2.5, 4.0]),
    )
    return (None if truth == NONE else truth), world


@pytest.mark.parametrize("n", [10, pytest.param(200, marks=pytest.mark.slow)])
@ONE_BY_ONE_AND_IN_ROUNDS
def test_the_planted_size_is_found_in_nine_of_ten_simulations_and_hardly_ever_undercut(n, fused):
    right = below = 0
    for seed in range(n):
        truth, world = planted(seed)
        answer = simulate(world, question(fused=fused), seed)[0].answer
        right += answer == truth
        below += answer is not None and (truth is None or answer < truth)
    assert right >= 0.9 * n
    assert below <= 0.02 * n


@pytest.mark.parametrize(
    ("share", "n", "most"),
    [
        (0.8, 16, 2),
        pytest.param(0.8, 60, 5, marks=pytest.mark.slow),
        pytest.param(0.7, 60, 2, marks=pytest.mark.slow),
    ],
)
@ONE_BY_ONE_AND_IN_ROUNDS
def test_success_rates_in_between_are_not_taken_for_success(share, n, most, fused):
    world = Ladder(success=lambda size: 0.99 if size >= 16 else share)
    answers = [simulate(world, question(fused=fused), seed)[0].answer for seed in range(n)]
    assert sum(answer is not None and answer < 16 for answer in answers) <= most


@pytest.mark.slow
def test_where_all_sizes_succeed_too_rarely_none_is_the_answer():
    """Any one of ten sizes passes the first seeds in a third of all cases."""
    world = Ladder(success=lambda size: 0.8)
    found = [simulate(world, question(), seed)[0] for seed in range(12)]
    assert sum(walk.answer is not None for walk in found) <= 2
    assert any("that came later" in state.why for walk in found for state in walk.looked)


@pytest.mark.slow
@pytest.mark.parametrize("world", LADDERS)
@ONE_BY_ONE_AND_IN_ROUNDS
def test_no_trouble_that_worlds_have_makes_answers_too_small(world, fused):
    """Of 40 studies at most one in twenty, and what chance adds to that."""
    cases = [LADDERS[world](random.Random(seed)) for seed in range(40)]
    cases = [replace(case, asked=replace(case.asked, fused=fused)) for case in cases]
    seen = [verdict(c, simulate(c.world, c.asked, n)[0]) for n, c in enumerate(cases)]
    assert seen.count("too small") <= 5
    assert seen.count("right") >= 30


@pytest.mark.slow
def test_a_window_of_sizes_below_the_baseline_is_found():
    world = Ladder(success=lambda size: 0.999 if 4 <= size <= 16 else 0.01)
    answers = [simulate(world, question(), seed)[0].answer for seed in range(5)]
    assert answers.count(4) >= 4


def test_an_optimum_outside_the_searched_rates_is_followed():
    world = Ladder(success=lambda size: 0.999, bottom=-8.0, tilt=1.0)
    found, rows = simulate(world, question(learning_rates=(1e-3, 1.0)), 0)
    assert found.answer == 1
    assert min(row.learning_rate for row in rows) < 1e-3
