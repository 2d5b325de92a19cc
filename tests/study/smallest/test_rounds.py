"""Where runs of a size are trained together, they are asked for in whole rounds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from batchfront.study.smallest.agenda import next_runs
from batchfront.study.smallest.ladder import walk
from batchfront.study.smallest.question import SEEDS, SENSITIVITY, TUNE
from batchfront.study.smallest.rounds import WIDTH, first_round, next_round
from benchmarks.worlds.ladders import RATES, Ladder, question
from benchmarks.worlds.walked import run_row, simulate

GOOD = Ladder(success=lambda size: 0.999 if size >= 4 else 0.01)


def asked_for(fused, rows=()):
    """How many runs are due, by batch size and purpose."""
    due = next_runs(replace(question(), fused=fused), rows)
    return Counter((one.batch_size, one.purpose) for one in due)


def tuned(size: int, *, start: int = 0):
    """Ten rates of a size, the best in the middle."""
    rates = first_round(0.05, None)
    errors = [0.04 + 0.01 * abs(n - 4.5) for n in range(WIDTH)]
    return [
        run_row(start + n, size, rate, 1 - error, purpose=TUNE)
        for n, (rate, error) in enumerate(zip(rates, errors, strict=True))
    ]


def test_a_size_gets_all_its_rates_at_once_and_then_all_its_seeds():
    assert asked_for({1: True}) == {(64, TUNE): 10}
    assert asked_for({64: True}, tuned(64)) == {(64, SEEDS): 10}
    assert asked_for(None, tuned(64)) == {(64, SEEDS): 5}


def test_sizes_are_taken_for_what_the_nearest_is_that_is_known():
    rows = tuned(64) + [run_row(10 + n, 64, 0.05, 0.97, purpose=SEEDS) for n in range(10)]
    assert asked_for({64: True}, rows) == {(32, TUNE): 10}
    assert sum(asked_for({64: False}, rows).values()) <= 4
    assert asked_for({}) == asked_for(None), "its first run will decide it"
    assert asked_for({64: False, 32: True}, rows) == {(32, TUNE): 10}
    assert sum(asked_for({64: True, 32: False}, rows).values()) <= 4


def test_what_may_confirm_the_answer_is_asked_for_at_once():
    asked = replace(question(), fused={1: True})
    _, rows = simulate(GOOD, asked, 0)
    seeds = [row for row in rows if row.purpose == SENSITIVITY and row.batch_size == 4]
    before = [row for row in rows if row.number < seeds[0].number]
    assert (
        sum(n for (_, why), n in asked_for({1: True}, before).items() if why == SENSITIVITY) >= 16
    )


def test_an_answer_found_in_rounds_stands_for_who_asks_run_by_run():
    """The same rows are judged later, by a look, or by a call with another setting."""
    for seed in range(3):
        found, rows = simulate(GOOD, replace(question(), fused={1: True}), seed)
        assert found.answer == 4
        assert walk(question(), rows).answer == 4
        assert not next_runs(question(), rows)


@pytest.mark.parametrize("frozen", [None, 1e-3, 0.011, 0.5, 1.0, 9.0])
def test_a_first_round_is_around_the_guess_and_holds_the_rate_of_the_baseline(frozen):
    rates = first_round(0.01, frozen)
    assert len(rates) == WIDTH
    assert list(rates) == sorted(rates)
    assert frozen is None or frozen in rates
    assert min(rates) < 0.01 / 3
    assert max(rates) > 0.01 * 3


def test_a_next_round_goes_on_from_the_edge_or_fills_what_is_open():
    tried = [0.01, 0.1, 1.0]
    assert max(next_round(0.003, tried)) < 0.01
    assert min(next_round(3.0, tried)) > 1.0
    inside = next_round(0.3, tried)
    assert min(inside) < 0.3 < max(inside)


def test_an_optimum_outside_the_searched_rates_is_followed_in_rounds():
    world = Ladder(success=lambda size: 0.999, bottom=-8.0, tilt=1.0)
    asked = question(learning_rates=(1e-3, 1.0), fused={1: True})
    found, rows = simulate(world, asked, 0)
    assert found.answer == 1
    assert min(row.learning_rate for row in rows) < RATES[0]
