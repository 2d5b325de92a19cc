"""What a size needs in order to count, and in which order sizes are looked at."""

from __future__ import annotations

from itertools import groupby, product

import pytest
from scipy.stats import binomtest

from batchfront.study.errors import StudyError
from batchfront.study.smallest.agenda import next_runs
from batchfront.study.smallest.confirm import ERROR, MOST, UNLIKELY, stands
from batchfront.study.smallest.evidence import evidence
from batchfront.study.smallest.ladder import walk
from batchfront.study.smallest.question import (
    SEEDS,
    TUNE,
    check_question,
    share_interval,
    target_of,
)
from batchfront.study.smallest.show import answer_line
from batchfront.study.smallest.size import state_of
from batchfront.study.smallest.tuning import reach
from benchmarks.worlds.ladders import TARGET, question
from benchmarks.worlds.walked import run_row

GOOD, BAD = 0.96, 0.94
RATE = 0.1


def tuned_at(size, *, start=0, rates=(RATE / 3, RATE, RATE * 3)):
    """One run at each rate, best in the middle."""
    errors = [abs(i - len(rates) // 2) for i in range(len(rates))]
    return [
        run_row(start + i, size, rate, GOOD - 0.02 * errors[i], purpose=TUNE)
        for i, rate in enumerate(rates)
    ]


def seeds_at(size, outcomes, *, start=100, purpose=SEEDS):
    return [
        run_row(start + i, size, RATE, GOOD if good else BAD, purpose=purpose)
        for i, good in enumerate(outcomes)
    ]


def decided(size, counts):
    """A tuned size with seeds that decide it."""
    return [
        *tuned_at(size, start=size * 1000),
        *seeds_at(size, 9 * [True] if counts else 2 * [False]),
    ]


def by_definition(counts, start):
    """The smallest size of the stretch that the walk comes to, or of one below it that is longer
    than one size: that is, with 18 seeds of 18."""
    down = sorted(counts, reverse=True)
    above = [size for size in reversed(down) if size > start]
    below = [size for size in down if size < start]
    first = next((size for size in [start, *above, *below] if counts[size]), None)
    stretches = [list(sizes) for good, sizes in groupby(down, key=counts.get) if good]
    walked = [stretch for stretch in stretches if first in stretch]
    return min((min(s) for s in stretches if s in walked or len(s) > 1), default=None)


def test_the_answer_ends_a_stretch_of_sizes_that_count():
    sizes = (8, 16, 32, 64, 128, 256)
    for outcome in product([True, False], repeat=len(sizes)):
        counts = dict(zip(sizes, outcome, strict=True))
        rows = [row for size in sizes for row in decided(size, counts[size])]
        found = walk(question(sizes=sizes), rows)
        assert found.answer == by_definition(counts, 64), counts


def test_an_undecided_size_on_the_way_down_is_no_answer():
    rows = [*decided(64, True), *tuned_at(32), *seeds_at(32, 4 * [True])]
    found = walk(question(sizes=(32, 64)), rows)
    assert found.answer is None
    assert (
        "batch size 32 is not decided: 4 of 4 seeds reach it so far, of 10 asked for"
        in found.reason
    )
    assert {one.batch_size for one in found.to_run} == {32}


def answered(counts):
    """What is said of sizes that 64 is the baseline of."""
    rows = [row for size, does in counts.items() for row in decided(size, does)]
    found = walk(question(sizes=tuple(sorted(counts))), rows)
    return found, answer_line(evidence(rows, found), found, min(counts))


def test_recorded_sizes_below_one_that_fails_are_judged_too():
    found, said = answered({128: True, 64: False, 32: True, 16: True, 8: True})
    assert found.answer == 8
    assert said.startswith("The smallest batch size that reaches 0.95 is 8, ")
    assert said.endswith("; 64 does not (0 of 2).")


def test_a_single_size_below_one_that_fails_is_named_beside_the_answer():
    found, said = answered({128: True, 64: False, 32: True, 16: False, 8: False})
    assert found.answer == 128
    assert said.startswith("Batch size 128 reaches 0.95, ")
    assert "; 32 also reaches it (9 of 9), on too few seeds" in said
    assert said.endswith("; 64 (0 of 2), 16 (0 of 2) and 8 (0 of 2) do not.")


def test_what_is_known_is_said_where_the_answer_is_not_shown():
    rows = [*decided(64, True), *tuned_at(32), *seeds_at(32, 4 * [True])]
    found = walk(question(sizes=(32, 64)), rows)
    assert (found.answer, found.at_most) == (None, 64)
    said = answer_line(evidence(rows, found), found, 32)
    assert said.startswith("not shown, but it is 64 or smaller: batch size 32 is not decided")


def test_sizes_that_lead_to_no_decision_still_bound_the_answer():
    rows = [*tuned_at(64), *decided(16, True), *decided(8, True)]
    found = walk(question(sizes=(8, 16, 64)), rows)
    assert (found.answer, found.at_most) == (None, 8)


def test_two_failed_seeds_of_ten_end_a_size():
    rows = [*tuned_at(64), *seeds_at(64, [True, False, False, False, False])]
    for asked in (question(), question(is_recorded=True)):
        state = state_of(asked, rows, 64, target=TARGET)
        assert state.counts is False
        assert state.to_run == ()


def test_where_seeds_fail_narrowly_the_rates_beside_are_tried_first():
    rows = [*tuned_at(64), *seeds_at(64, [True, False, True, False, True])]
    state = state_of(question(), rows, 64, target=TARGET)
    assert state.counts is None
    assert sorted(one.learning_rate for one in state.to_run) == [0.05, 0.05, 0.2, 0.2]
    assert state_of(question(is_recorded=True), rows, 64, target=TARGET).counts is False
    better = [run_row(300 + n, 64, 0.2, GOOD, purpose=TUNE) for n in range(2)]
    worse = [run_row(310 + n, 64, 0.05, BAD, purpose=TUNE) for n in range(2)]
    asked = state_of(question(), [*rows, *better, *worse], 64, target=TARGET).to_run
    assert [one.purpose for one in asked] == 5 * [SEEDS]
    assert all(0.1 < one.learning_rate <= 0.2 for one in asked)


def test_where_all_rates_of_a_size_diverged_a_smaller_one_is_tried():
    rows = [*tuned_at(64, start=50), *seeds_at(64, 9 * [True])]
    failed = [run_row(n, 32, rate, None, purpose=TUNE) for n, rate in enumerate((0.3, 0.1, 0.9))]
    asked = state_of(question(), [*rows, *failed], 32, target=TARGET).to_run
    assert [(one.learning_rate, one.purpose) for one in asked] == [(0.033, TUNE)]


def test_the_best_rate_of_a_size_is_not_sought_at_the_brink_of_divergence():
    ran = [run_row(n, 64, rate, GOOD - 0.01 * n) for n, rate in enumerate((0.1, 0.03))]
    low, high = reach([*ran, run_row(9, 64, 0.4, None)], 1e-3, 1.0)
    assert (low, high) == (pytest.approx(0.1 / 3), pytest.approx(0.2))


def test_after_five_good_seeds_no_more_run_than_could_decide():
    rows = [*tuned_at(64), *seeds_at(64, 5 * [True])]
    asked = state_of(question(), rows, 64, target=TARGET).to_run
    assert [(one.purpose, one.learning_rate) for one in asked] == 4 * [(SEEDS, RATE)]


def test_five_seeds_run_first():
    asked = next_runs(question(sizes=(64,)), tuned_at(64))
    assert [one.purpose for one in asked] == 5 * [SEEDS]


def test_nothing_is_asked_twice_while_runs_are_under_way():
    rows = [*tuned_at(64), run_row(9, 64, RATE, None, purpose=SEEDS, waits=True, finished=False)]
    assert len(next_runs(question(sizes=(64,)), rows)) == 0


@pytest.mark.parametrize(("k", "n"), [(0, 5), (3, 5), (9, 10), (10, 10)])
def test_the_interval_of_a_share_is_the_exact_one(k, n):
    oracle = binomtest(k, n).proportion_ci(0.95, method="exact")
    assert share_interval(k, n) == pytest.approx((oracle.low, oracle.high))


def test_a_size_that_fails_at_the_edge_of_the_rates_is_not_decided():
    rows = [*tuned_at(64, rates=(RATE, RATE * 3)), *seeds_at(64, 2 * [False])]
    rows = [row for row in rows if row.learning_rate >= RATE]
    state = state_of(question(n_seeds=2), rows, 64, target=TARGET)
    assert state.counts is None


def test_a_run_over_its_budget_does_not_reach_the_target():
    rows = [*tuned_at(64), *seeds_at(64, 9 * [True])]
    rows[-2:] = [
        run_row(row.number, 64, RATE, GOOD, purpose=SEEDS, feasible=False) for row in rows[-2:]
    ]
    assert sum(state_of(question(), rows, 64, target=TARGET).outcomes) == 7


def test_a_size_that_does_not_fit_is_no_candidate_and_is_not_tuned():
    rows = [*decided(64, True), run_row(0, 32, RATE, None, verdict="out_of_memory", purpose=TUNE)]
    found = walk(question(sizes=(32, 64)), rows)
    assert found.answer == 64
    assert "cannot run: out of memory" in found.looked[1].why


def test_recorded_runs_are_judged_at_the_rate_that_the_others_choose():
    """Each rate has one lucky seed: chosen by itself, it would look as if it reached the target."""
    rows = [
        run_row(10 * i + seed, 64, rate, GOOD if seed == i else BAD + 0.002 * (seed % 2))
        for i, rate in enumerate((0.01, 0.1, 1.0))
        for seed in range(3)
    ]
    state = state_of(question(n_seeds=3), rows, 64, target=TARGET)
    assert len(state.outcomes) == 3
    assert sum(state.outcomes) == 0


def test_recorded_runs_that_all_reach_it_count():
    rows = [
        run_row(10 * i + seed, 64, rate, GOOD - 0.03 * (i != 1))
        for i, rate in enumerate((0.01, 0.1, 1.0))
        for seed in range(5)
    ]
    state = state_of(question(n_seeds=5), rows, 64, target=TARGET)
    assert (state.counts, state.learning_rate) == (True, 0.1)


def test_within_is_below_the_best_of_the_search_whatever_the_seeds_reach():
    asked = question(target=None, within=0.01)
    rows = [
        run_row(0, 8, RATE, 0.97),
        *seeds_at(64, [True]),
        run_row(50, 64, RATE, 0.99, purpose=SEEDS),
    ]
    assert target_of(asked, rows) == pytest.approx(0.96)
    assert target_of(asked, []) is None


def test_seeds_that_come_later_can_take_an_answer_back():
    rows = [
        *decided(64, True),
        *seeds_at(64, [True, False, False, False, True], purpose="sensitivity"),
    ]
    found = walk(question(sizes=(64,), is_recorded=True), rows)
    assert found.answer is None
    assert found.looked[0].counts is False
    assert "2 of 5 seeds that came later" in found.looked[0].why


def test_an_answer_that_later_seeds_take_back_is_followed_by_the_next_larger_size():
    rows = [*decided(64, True), *decided(32, True), *decided(16, False)]
    failing = seeds_at(32, [True, False, False, False, True], purpose="sensitivity")
    found = walk(question(sizes=(16, 32, 64)), [*rows, *failing, *tuned_at(32, start=500)])
    assert {one.batch_size for one in found.to_run} == {32}  # another rate may do
    found = walk(question(sizes=(16, 32, 64)), [*rows, *failing, *other_rates_fail(32)])
    assert found.answer == 64


def other_rates_fail(size):
    """Seeds at two more rates, so that no other is tried."""
    return [
        run_row(700 + 10 * i + n, size, rate, BAD, purpose=SEEDS)
        for i, rate in enumerate((RATE / 2, RATE * 2))
        for n in range(2)
    ]


def test_an_answer_is_confirmed_by_seeds_that_rule_out_a_share_of_four_fifths():
    rows = [*decided(64, True)]
    assert walk(question(sizes=(64,)), rows).looked[0].confirmed is None
    asked = next_runs(question(sizes=(64,)), rows)
    assert [(one.purpose, one.score_test) for one in asked] == 5 * [("sensitivity", True)]
    later = seeds_at(64, 6 * [True], purpose="sensitivity")
    assert walk(question(sizes=(64,)), [*rows, *later]).looked[0].confirmed


@pytest.mark.parametrize("n_sizes", [1, 2, 10])
def test_the_chance_to_confirm_a_share_of_four_fifths_is_spent_on_all_sizes(n_sizes):
    """By all sequences of a sequential test, counted exactly."""
    open_, confirmed = {(0, 0): 1.0}, 0.0
    while open_:
        k, n = min(open_, key=lambda seen: seen[1])
        chance = open_.pop((k, n))
        outcomes = k * [True] + (n - k) * [False]
        if stands(outcomes, n_sizes):
            confirmed += chance
        elif stands(outcomes, n_sizes) is None and n < MOST:
            for step, share in ((1, UNLIKELY), (0, 1 - UNLIKELY)):
                open_[k + step, n + 1] = open_.get((k + step, n + 1), 0.0) + share * chance
    assert 0 < n_sizes * confirmed <= ERROR


def test_evidence_counts_steps_and_seconds_to_the_epoch_of_the_target():
    runs = [
        run_row(
            i, 64, RATE, GOOD, purpose=SEEDS, curve=(0.5, 0.9, 0.951, GOOD), epochs=4,
            total_steps=80, train_seconds=8.0, n_spikes=i % 2, generalization_gap=0.02,
        )
        for i in range(10)
    ]  # fmt: skip
    found = walk(question(sizes=(64,)), [*tuned_at(64, start=50), *runs])
    size = evidence([*tuned_at(64, start=50), *runs], found)[0]
    assert (size.epochs_to_target, size.steps_to_target, size.seconds_to_target) == (3, 60, 6.0)
    assert (size.examples_to_target, size.n_spikes) == (3 * 20 * 64, 0.5)
    assert size.metric == pytest.approx(GOOD)


@pytest.mark.parametrize(
    ("target", "within", "seeds", "said"),
    [
        (None, None, 10, "neither of --target and --within"),
        (0.9, 0.1, 10, "both of --target and --within"),
        (float("inf"), None, 10, "target is inf"),
        (None, -0.1, 10, "within is -0.1"),
        (float("nan"), None, 10, "target is nan"),
        (0.9, None, 1, "seeds is 1"),
    ],
)
def test_a_question_without_an_answer_is_refused(target, within, seeds, said):
    with pytest.raises(StudyError, match=said):
        check_question(target, within, seeds)
