"""Crashes, stops, other hardware, regression, dead ends: what the ladder makes of them."""

from __future__ import annotations

import json
import textwrap

import pytest

from batchfront.objectives.curves.table import COLUMNS
from batchfront.study.cli.main import main
from batchfront.study.machine.process import this_process
from batchfront.study.smallest.advice import frozen
from batchfront.study.smallest.answer import _to_record, answer_of, as_json
from batchfront.study.smallest.evidence import evidence
from batchfront.study.smallest.ladder import walk
from batchfront.study.smallest.question import SEEDS, SENSITIVITY, TUNE
from batchfront.study.smallest.sensitivity import to_run
from batchfront.study.smallest.show import answer_line, more_lines
from batchfront.study.smallest.size import state_of
from batchfront.study.trials.attributes import OWNER
from batchfront.study.trials.rows import RunRow
from benchmarks.worlds.ladders import TARGET, question
from benchmarks.worlds.walked import run_row
from tests.study.conftest import study_of
from tests.study.smallest.test_protocol import BAD, GOOD, RATE, decided, seeds_at, tuned_at
from tests.study.smallest.test_verb import ARGS, LADDER, trials_of

pytestmark = pytest.mark.usefixtures("journal")

WIDER = LADDER.replace("off = ", "off = params.extra['width'] - 5 + ")


def crash(number: int, size: int, purpose: str, reason: str = "ValueError: odd") -> RunRow:
    return run_row(number, size, RATE, None, purpose=purpose, verdict=None, reason=reason)


def test_a_size_whose_runs_raise_cannot_run_and_the_answer_is_the_one_above():
    rows = [*decided(64, True), *(crash(n, 32, TUNE) for n in range(3))]
    found = walk(question(sizes=(32, 64)), rows)
    assert found.answer == 64
    assert "its runs fail: ValueError: odd" in found.looked[1].why


def test_one_crash_is_tuned_over_and_a_crashed_seed_is_replaced():
    rows = [*decided(64, True), crash(1, 32, TUNE)]
    assert all(one.purpose == TUNE for one in walk(question(sizes=(32, 64)), rows).to_run)
    seeds = [*tuned_at(64), *seeds_at(64, 5 * [True]), *(crash(n, 64, SEEDS) for n in (200, 201))]
    state = state_of(question(), seeds, 64, target=TARGET)
    assert state.outcomes == 5 * (True,)
    assert len(state.to_run) == 4


def test_a_first_sweep_that_crashed_is_run_again():
    assert len(walk(question(sizes=(64,)), [crash(1, 64, TUNE)]).to_run) == 7


def grid_rows(outcome, n=5, **changes):
    return [
        run_row(10 * i + k, 64, rate, GOOD if i == 1 else BAD, seed=k)
        if i != 1
        else outcome(10 * i + k, k, rate)
        for i, rate in enumerate((0.01, 0.1, 1.0))
        for k in range(n)
    ]


def test_what_a_pruner_left_over_is_no_sample_of_seeds():
    def half_pruned(number, k, rate):
        if k % 2:
            return run_row(number, 64, rate, None, verdict="pruned", seed=k)
        return run_row(number, 64, rate, GOOD, seed=k)

    state = state_of(question(n_seeds=5), grid_rows(half_pruned, 10), 64, target=TARGET)
    assert state.counts is not True


def test_the_same_seed_over_and_over_is_one_run():
    rows = grid_rows(lambda number, k, rate: run_row(number, 64, rate, GOOD, seed=7))
    state = state_of(question(n_seeds=5), rows, 64, target=TARGET)
    assert sum(state.outcomes) == 0


def test_runs_of_tuning_do_not_judge_themselves():
    rows = [run_row(n, 64, RATE, GOOD, purpose=TUNE) for n in range(5)]
    assert state_of(question(n_seeds=5), rows, 64, target=TARGET).outcomes == ()


def test_a_retried_seed_of_an_abandoned_rate_does_not_undo_the_second_attempt():
    old = [run_row(100 + n, 64, 0.02, BAD, purpose=SEEDS) for n in range(3)]
    new = [run_row(200 + n, 64, RATE, GOOD, purpose=SEEDS) for n in range(9)]
    late = run_row(300, 64, 0.02, BAD, purpose=SEEDS)
    state = state_of(question(), [*tuned_at(64), *old, *new, late], 64, target=TARGET)
    assert (state.counts, state.learning_rate) == (True, RATE)


def test_where_nothing_more_can_be_run_the_remedy_is_another():
    rows = [run_row(n, 64, 1e-4 / 3**n, 0.5 + 0.01 * n, purpose=TUNE) for n in range(12)]
    rows += [run_row(100 + n, 64, 1e-4 / 3**11, BAD, purpose=SEEDS) for n in range(2)]
    found = walk(question(sizes=(64,), learning_rates=(1e-4, 1.0)), rows)
    assert found.answer is None
    assert found.to_run == ()
    assert "wider --learning-rates" in found.remedy


def test_an_answer_that_is_taken_back_no_longer_counts_and_shows_why():
    later = seeds_at(64, [True, False, False, False, True], purpose=SENSITIVITY)
    rows = [*decided(64, True), *later]
    answer = answer_of(question(sizes=(64,), is_recorded=True), rows)
    assert answer.table[0].counts is False
    assert "2 of 5 seeds that came later" in answer.table[0].why
    assert answer.advised is None
    assert answer.found.at_most is None


def test_the_answers_own_seeds_are_scored_even_if_it_was_a_neighbour_before():
    before = seeds_at(64, 5 * [True], purpose=SENSITIVITY)
    rows = [*decided(64, True), *before]
    asked = to_run(question(sizes=(64,)), rows, walk(question(sizes=(64,)), rows))
    assert [one.score_test for one in asked] == 5 * [True]


def test_only_the_answers_own_seeds_are_its_score_on_the_test_split():
    """Half of it was the answer to a lower target, at the same rate."""
    scored = {"purpose": SENSITIVITY, "score_test": True}
    rows = [*decided(64, True), *decided(32, False)]
    rows += [run_row(500 + n, 64, RATE, GOOD, test_metric=0.9, **scored) for n in range(5)]
    rows += [run_row(600 + n, 32, RATE, GOOD, test_metric=0.1, **scored) for n in range(5)]
    answer = answer_of(question(sizes=(32, 64)), rows)
    assert as_json(answer)["test"] == 5 * [0.9]
    said = more_lines(answer.table, answer.found, answer.frozen, answer.around)
    assert "on the test split, looked at once: 0.9000 (5 seeds" in "\n".join(said)


def test_memory_that_ran_out_elsewhere_does_not_rule_a_size_out_here():
    elsewhere = run_row(0, 64, RATE, None, verdict="out_of_memory", hardware="small")
    here, there = (question(sizes=(64,), hardware=name) for name in ("large", "small"))
    assert walk(here, [elsewhere]).to_run
    assert "out of memory" in walk(there, [elsewhere]).looked[0].why


def test_times_are_those_of_one_hardware():
    rows = [*tuned_at(64), *seeds_at(64, 9 * [True])]
    rows = [
        RunRow(**{**vars(row), "hardware": name, "train_seconds": seconds, "curve": (GOOD,)})
        for row, (name, seconds) in zip(rows, 6 * [("a", 1.0), ("b", 50.0)], strict=True)
    ]
    found = walk(question(sizes=(64,)), rows)
    assert evidence(rows, found, "a")[0].train_seconds == 1.0


def test_an_r2_below_zero_can_be_a_target():
    rows = [
        run_row(n, 64, rate, metric, purpose=TUNE)
        for n, (rate, metric) in enumerate([(0.001, -3.0), (0.01, -1.0), (0.1, -4.0)])
    ]
    asked = walk(question(sizes=(64,), target=-1.1), rows).to_run
    assert all(0.003 < one.learning_rate < 0.03 for one in asked)


def test_a_size_that_breaks_a_budget_says_so():
    over = [run_row(200 + n, 32, RATE, GOOD, purpose=SEEDS, feasible=False) for n in range(2)]
    rows = [*decided(64, True), *tuned_at(32), *over]
    answer = answer_of(question(sizes=(32, 64)), rows)
    assert "32 does not (0 of 2, 2 over a budget)" in answer_line(answer.table, answer.found, 32)


def test_what_one_would_have_said_with_a_frozen_rate_ends_where_nothing_was_run():
    rows = [*decided(64, True), *(run_row(900 + n, 16, RATE, GOOD) for n in range(2))]
    found = walk(question(sizes=(16, 32, 64)), rows)
    assert frozen(rows, found, question(sizes=(16, 32, 64))).answer == 64


def test_a_frozen_rate_is_judged_by_nine_of_ten_as_the_answer_is():
    rows = [*decided(64, True), *(run_row(900 + n, 32, RATE, GOOD if n else BAD) for n in range(3))]
    found = walk(question(sizes=(32, 64)), rows)
    assert frozen(rows, found, question(sizes=(32, 64))).answer == 64


@pytest.mark.parametrize(("rates", "side"), [((0.1, 0.3), "smaller"), ((0.03, 0.1), "larger")])
def test_the_remedy_of_a_best_rate_at_the_edge_is_to_record_rates_beyond_it(rates, side):
    rows = [
        run_row(10 * i + k, 64, rate, BAD - 0.02 * (rate != 0.1))
        for i, rate in enumerate(rates)
        for k in range(10)
    ]
    missing = walk(question(sizes=(64,)), rows).missing
    assert missing is not None
    assert _to_record(missing, rows, 10).startswith(f"record runs of 64 at {side} learning rates")


def test_a_curve_that_is_too_coarse_for_the_target_is_answered_by_the_end():
    row = run_row(0, 64, RATE, 0.96, curve=(0.5, 0.9), stride=2, epochs=5)
    assert row.epochs_to(0.95) == 5
    assert row.epochs_to(0.97) is None


def test_a_search_that_runs_beside_is_not_waited_for(write_task, rows):
    write_task(LADDER)
    few = (*ARGS[:-1], "64")
    assert main(["run", *few, "--n-trials", "2"]) == 0
    study = study_of("mine.py:objective")
    study.ask().set_user_attr(OWNER, this_process())  # as another worker would
    answer = rows("smallest", *few, "--target", "0.95", "--timeout", "60")
    assert answer["answer"] == 64
    assert [t.state.name for t in trials_of()].count("RUNNING") == 1


def test_what_is_recorded_is_judged_at_the_usual_values_as_the_walk_does(write_task, rows, capsys):
    write_task(
        f"""
        from batchfront import CustomLoop, Parameter
        {textwrap.indent(textwrap.dedent(WIDER), 8 * " ")}
        objective = CustomLoop(function=objective, search={{"width": Parameter(low=1, high=9)}})
        """
    )
    few = (*ARGS[:-1], "64")
    assert main(["run", *few, "--n-trials", "6", "--sampler", "random", "--pruner", "none"]) == 0
    capsys.readouterr()
    assert main(["smallest", *few, "--within", "0.02", "--json"]) == 0
    said = capsys.readouterr()
    assert "every run has width=5, as it was probed" in said.err
    walked = json.loads(said.out)
    assert rows("smallest", *few, "--within", "0.02", "--max-trials", "0") == walked


def test_playbacks_are_not_judged(workdir, capsys):
    header = ",".join(COLUMNS)
    lines = [f"x,sgd,{size},0.1,0,1,1.0,0.9,1.0,100" for size in (32, 64)]
    (workdir / "t.csv").write_text("\n".join([header, *lines]) + "\n")
    assert main(["run", "--task", "t.csv", "--n-trials", "4", "--epochs", "1"]) == 0
    assert main(["smallest", "--target", "0.5", "--max-trials", "0"]) == 2
    assert "plays recorded runs back" in capsys.readouterr().err


def test_one_learning_rate_is_nothing_to_tune(write_task, capsys):
    write_task(LADDER)
    fixed = (*ARGS[:-1], "64", "--learning-rates", "0.1")
    assert main(["smallest", *fixed, "--target", "0.9"]) == 2
    assert "one learning rate, 0.1" in capsys.readouterr().err


def test_a_task_that_raises_at_small_sizes_still_has_an_answer(write_task, rows):
    write_task(
        LADDER.replace(
            "draw =", "if params.batch_size < 32: raise ValueError('odd')\n        draw ="
        )
    )
    few = (*ARGS[:-1], "16:64")
    assert main(["smallest", *few, "--target", "0.95"]) == 1  # three in a row: the worker gives up
    answer = rows("smallest", *few, "--target", "0.95")
    assert answer["answer"] == 32
    assert "its runs fail: ValueError: odd" in answer["ladder"][-1]["why"]
