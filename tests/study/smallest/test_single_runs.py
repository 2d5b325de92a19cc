"""Tables with one run at each batch size and learning rate: a weaker answer, and its bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from batchfront.objectives.curves.table import read_table
from batchfront.study.cli.main import main
from batchfront.study.smallest.answer import answer_of, as_json
from batchfront.study.smallest.repeated import left_out
from batchfront.study.smallest.show import single_line
from benchmarks.worlds.ladders import TARGET, question
from benchmarks.worlds.walked import run_row
from tests.study.conftest import ROOT

SIZES = (16, 32, 64, 128, 256, 512)
RATES = [0.1 * 2.0**k for k in range(-4, 5)]
TABLE = ROOT / "benchmarks" / "tables" / "digits_sgd_momentum.csv.gz"


def grid(least, *, noise=0.0, seed=0, tilt=0.0):
    """One run at each size and rate; `least`: log error over the target's at a size's best."""
    draw = np.random.default_rng(seed)
    rows = []
    for k, size in enumerate(SIZES):
        for rate in RATES:
            off = np.log2(rate / 0.1) - tilt * k
            log_error = least[k] + 0.05 * off**2 + noise * draw.standard_normal()
            error = (1 - TARGET) * float(np.exp(log_error))
            rows.append(run_row(len(rows), size, rate, 1 - error))
    return rows


def asked(**changes):
    return question(sizes=SIZES, is_recorded=True, **changes)


FALLING = [0.5, 0.2, -0.1, -0.3, -0.3, -0.3]


def test_single_runs_have_a_weaker_answer_and_no_other():
    answer = answer_of(asked(), grid(FALLING))
    assert answer.found.answer is None
    assert (answer.single.answer, answer.single.smallest, answer.single.largest) == (64, 64, 64)
    assert answer.single.learning_rate == pytest.approx(0.1)
    said = single_line(answer.single)
    assert "on single runs, at the best rate of each size: 64" in said
    assert "a repeat would hardly move this" in said
    assert as_json(answer)["single_runs"]["answer"] == 64
    assert as_json(answer)["status"] == "not_shown"


def test_a_frozen_rate_would_have_said_another_size():
    answer = answer_of(asked(), grid([-0.15] * 6, tilt=1.0))
    assert answer.single.answer == 16
    assert answer.single.frozen_answer == 32


def test_noise_is_read_from_the_surface_and_bounds_the_answer():
    truth, bounded, noises = 64, 0, []
    for seed in range(20):
        seen = answer_of(asked(), grid(FALLING, noise=0.1, seed=seed)).single
        noises.append(seen.noise)
        low, high = seen.smallest or min(SIZES), seen.largest or max(SIZES)
        bounded += low <= truth <= high
    assert np.mean(noises) == pytest.approx(0.1, rel=0.3)
    assert bounded >= 18


def coarse(rows, step):
    """The same with fewer rates around the best one."""
    return [row for row in rows if round(np.log2(row.learning_rate / 0.1)) % step == 0]


def test_sizes_share_their_bend_where_none_has_rates_enough_for_its_own():
    noises = []
    for seed in range(20):
        rows = coarse(grid(FALLING, noise=0.1, seed=seed), 3)
        seen = answer_of(asked(), rows).single
        noises.append(seen.noise)
    assert np.mean(noises) == pytest.approx(0.1, rel=0.3)


def test_where_nobody_knows_how_far_runs_scatter_a_repeat_may_do_a_size():
    steep = [replace(row, metric=1 - (1 - row.metric) ** 2) for row in grid(FALLING)]
    steep = coarse([replace(row, metric=max(row.metric, 0.0)) for row in steep], 4)
    seen = answer_of(asked(target=1 - (1 - TARGET) ** 2), steep).single
    assert (seen.noise, seen.smallest, seen.answer, seen.largest) == (None, 32, 64, 128)
    assert "too few rates lie near the best ones to say how far runs scatter" in single_line(seen)


def test_repeated_runs_need_no_weaker_answer():
    rows = grid(FALLING)
    many = [
        replace(row, number=len(rows) * k + row.number, seed=k) for row in rows for k in range(10)
    ]
    answer = answer_of(asked(), many)
    assert answer.found.at_most is not None
    assert answer.single is None


@pytest.mark.parametrize("within", [0.005, 0.01, 0.02])
def test_of_recorded_runs_the_sizes_within_of_the_best_are_found(within):
    """One seed of real training runs; the smallest size is that of a plain search of the table."""
    runs = read_table(TABLE).runs.items()
    last = {(b, rate): run.val_accuracy[-1] for (b, rate, seed), run in runs if seed == 0}
    rows = [run_row(n, b, rate, metric) for n, ((b, rate), metric) in enumerate(last.items())]
    sizes = tuple(sorted({size for size, _ in last}))
    seen = answer_of(question(sizes=sizes, target=None, within=within, is_recorded=True), rows)
    top = {size: max(v for (b, _), v in last.items() if b == size) for size in sizes}
    good = {size for size in sizes if top[size] >= max(top.values()) - within}
    assert seen.single.answer in good
    assert seen.single.answer // 2 not in good


def test_a_failed_run_reaches_no_loss_however_bad_that_is():
    """Of a loss errors are above 1 where runs are worse than the usual one."""
    rows = grid([1.0, 0.5, 0.2, 0.0, 0.0, 0.0])
    worse = [replace(row, metric=1 - 40 * (1 - row.metric)) for row in rows]
    lost = {SIZES[0]: None, SIZES[1]: None}
    worse = [
        replace(row, metric=None, verdict="diverged", feasible=False)
        if row.batch_size in lost
        else row
        for row in worse
    ]
    allowed = 40 * (1 - TARGET) * float(np.exp(0.3))
    assert allowed > 1, "a failed run's usual error would reach it"
    seen = answer_of(asked(target=1 - allowed), worse).single
    assert (seen.answer, seen.frozen_answer) == (64, 64)


def test_repeated_runs_are_not_judged_at_a_rate_at_which_they_all_failed():
    """Other rates are worse than usual, but ended: a failed run is no better than these."""
    rows = [run_row(k, 64, 0.1, -0.5, seed=k) for k in range(10)]
    rows += [run_row(10 + k, 64, 0.4, None, seed=k) for k in range(10)]
    rate, fresh = left_out(rows)
    assert rate == 0.1
    assert {row.learning_rate for row in fresh} == {0.1}


def test_the_reason_says_that_seeds_are_missing_and_the_remedy_at_which_rate(workdir, capsys):
    lines = ["batch_size,learning_rate,val_loss"]
    for row in grid(FALLING):
        lines.append(f"{row.batch_size},{row.learning_rate},{3 - row.metric}")
    (workdir / "grid.csv").write_text("\n".join(lines) + "\n")
    assert main(["import", "grid.csv", "--metric", "val_loss"]) == 0
    assert main(["smallest", "--study-name", "grid", "--target", "2.05", "--max-trials", "0"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "9 runs at 9 learning rates, and at none of them did two seeds end" in said
    assert "record 10 seeds of it at its best rate, 0.1, where these come from" in said
    assert "fewer --seeds" not in said
    assert "at the best rate of each size: 64" in said
