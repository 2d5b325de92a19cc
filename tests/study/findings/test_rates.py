"""The best learning rate of a batch size, and how it grows: against planted truth."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchfront.study.cli.main import main
from batchfront.study.findings.rates.best import NotShown, RateEstimate, best_rate, rate_runs
from batchfront.study.findings.rates.law import RateLaw, rate_estimates, rate_law
from batchfront.study.findings.rates.show import (
    law_sentence,
    left_out_line,
    meaning_lines,
    rates_figure,
    rates_json,
    trial_lines,
)
from batchfront.study.findings.statistics.lines import fit_line
from tests.study.recorded import run_row

LOWEST = 0.03  # error at the best rate


def planted(off: Any, random: np.random.Generator, noise: float = 0.15) -> Any:
    """Errors of runs so many decades off the best rate: flat below it, steep above, then a cliff.

    Within 0.01 of the best accuracy from 0.565 decades below to 0.447 above.
    """
    bend = np.where(off < 0, 0.9, 1.44)
    error = (
        LOWEST
        * np.exp(np.minimum(bend * off**2, 3.3))
        * np.exp(noise * random.standard_normal(np.shape(off)))
    )
    return np.where(off > 0.8, math.inf, np.minimum(error, 1.0))


USABLE = math.sqrt(math.log(4 / 3) / 0.9) + math.sqrt(math.log(4 / 3) / 1.44)


def estimate(best: float, tried: Any, seed: int) -> RateEstimate:
    """`best` and `tried` in decades."""
    errors = planted(tried - best, np.random.default_rng(seed))
    found = best_rate(10**tried, errors, seed=seed)
    assert isinstance(found, RateEstimate)
    return found


GRID = np.repeat(np.linspace(-4, 1, 11), 3)


def test_intervals_of_the_best_rate_and_of_the_usable_range_cover_the_truth():
    best_in = usable_in = 0
    for seed in range(100):
        random = np.random.default_rng(1000 + seed)
        best = random.uniform(-2.3, -0.7)
        tried = random.uniform(best - 2, best + 1.5, 9) if seed % 2 else GRID
        found = estimate(best, tried, seed)
        best_in += found.low <= 10**best <= found.high
        usable_in += found.usable_decades[0] <= USABLE <= found.usable_decades[1]
    assert best_in >= 85
    assert usable_in >= 85


@pytest.mark.slow
def test_the_interval_of_the_exponent_covers_the_truth_and_tells_the_laws_apart():
    covered, excluded, n = 0, 0, 40
    for seed in range(n):
        exponent = (0.0, 0.5, 1.0)[seed % 3]
        random = np.random.default_rng(2000 + seed)
        sizes = [1, 4, 16, 64, 256]
        truths = {b: -3 + exponent * math.log10(b) + 0.05 * random.standard_normal() for b in sizes}
        law = rate_law({b: estimate(truths[b], GRID, seed + b) for b in sizes}, seed=seed)
        assert isinstance(law, RateLaw)
        covered += law.low <= exponent <= law.high
        excluded += not law.low <= exponent + 0.5 <= law.high
    assert covered >= 0.85 * n
    assert excluded >= 0.85 * n


def test_one_size_that_was_tuned_differently_hardly_moves_the_line():
    x = np.arange(9.0)
    random = np.random.default_rng(0)
    draws = 0.5 * x[:, None] + 0.1 * random.standard_normal((9, 500))
    draws[0] += 1.5
    line = fit_line(x, draws, finest=0.05, seed=0)
    assert line.slope == pytest.approx(0.5, abs=0.05)
    assert line.interval(0.95)[0] < 0.5 < line.interval(0.95)[1]


def test_a_best_rate_at_the_end_of_what_was_tried_is_said_to_be_there():
    for best, end in ((1.2, "high"), (-4.2, "low")):
        assert estimate(best, GRID, 0).edge == end
    assert estimate(-1.5, GRID, 0).edge is None


def test_a_run_that_failed_counts_as_the_worst():
    rates = [1e-3, 1e-2, 1e-1, 1.0]
    found = best_rate(rates, [0.2, 0.05, 0.04, math.nan])
    assert isinstance(found, RateEstimate)
    assert found.best < 0.5
    assert found == best_rate(rates, [0.2, 0.05, 0.04, math.inf])


def test_a_loss_worse_than_that_of_the_usual_run_is_no_failure():
    """Of a loss the usual run of a study has the error 1, so sizes may lie above it altogether."""
    rates = [10 ** (-4 + k / 4) for k in range(9)]
    errors = [1.5 * math.exp(0.3 * (k - 4) ** 2 / 4) for k in range(9)]
    found = best_rate(rates, errors)
    assert isinstance(found, RateEstimate)
    assert found.edge is None
    assert found.low <= 1e-3 <= found.high < 10 * found.low
    assert found.error == pytest.approx(1.5, rel=0.1)


def test_too_few_rates_are_refused_with_the_reason():
    few = best_rate([0.1, 0.1, 0.2], [0.3, 0.3, 0.2])
    assert isinstance(few, NotShown)
    assert few.reason == "2 learning rates tried, wanted at least 3"
    lost = best_rate([0.1, 0.2, 0.3], [math.inf, math.nan, math.inf])
    assert isinstance(lost, NotShown)
    assert "all 3 runs failed" in lost.reason
    empty = best_rate([], [])
    assert isinstance(empty, NotShown)


@pytest.mark.timed
def test_an_estimate_is_quick_and_the_same_for_the_same_seed():
    before = time.process_time()
    first = estimate(-1.5, GRID, 3)
    for _ in range(9):
        assert estimate(-1.5, GRID, 3) == first
    assert (time.process_time() - before) / 10 < 0.1  # about 0.01 on an idle core


def test_runs_that_a_pruner_stopped_or_that_wait_say_nothing():
    rows = [
        run_row(8, 0.1, metric=0.9),
        run_row(8, 0.2, verdict="dominated"),
        run_row(8, 0.3, verdict="diverged"),
        run_row(8, 0.4, finished=False),
        run_row(16, 0.5, metric=0.8),
    ]
    assert rate_runs(rows, 8) == ([0.1, 0.3], [pytest.approx(0.1), math.inf])


def made(sizes: list[int], exponent: float, tried: Any = GRID) -> dict[int, Any]:
    return {b: estimate(-2.5 + exponent * math.log10(b), tried, b) for b in sizes}


def test_a_law_from_too_few_sizes_or_edges_is_refused():
    few = rate_law(made([1, 4, 16], 0.5))
    assert isinstance(few, NotShown)
    assert "3 batch sizes" in few.reason
    near = rate_law(made([8, 9, 10, 11], 0.5))
    assert isinstance(near, NotShown)
    assert "a factor of 8" in near.reason
    edges = made([1, 4, 16, 64], 0.5) | {256: estimate(1.2, GRID, 0)}
    law = rate_law(edges)
    assert isinstance(law, RateLaw)
    assert law.at_edge == (256,)
    del edges[1]
    refused = rate_law(edges)
    assert isinstance(refused, NotShown)
    assert "left out, not bracketed: 256" in refused.reason


def test_the_sentence_says_which_known_laws_agree():
    law = rate_law(made([1, 4, 16, 64, 256], 0.5))
    text = law_sentence(law)
    assert "square-root scaling (0.5) lies in it" in text
    assert "linear scaling (1) is outside of it" in text


def test_the_figure_draws_the_law_beside_the_known_ones():
    estimates = {**made([1, 4, 16, 64], 1.0), 256: NotShown(reason="none")}
    law = rate_law(estimates)
    names = [trace.name for trace in rates_figure(estimates, law, "0.01 of r2").data]
    assert names[0].startswith("usable")
    assert names[-2:] == ["square-root scaling", "linear scaling"]
    assert isinstance(law, RateLaw)
    assert law.rate(64) / law.rate(1) == pytest.approx(64**law.exponent)


def test_sizes_come_in_order_each_with_its_own_runs():
    rows = [run_row(b, r, metric=1 - abs(r - 0.1)) for b in (16, 4) for r in (0.05, 0.1, 0.2)]
    found = rate_estimates([*rows, run_row(8, 0.1, metric=0.9)])
    assert list(found) == [4, 8, 16]
    assert isinstance(found[8], NotShown)


GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden-0.6.0.db"


def test_the_verb_says_the_same_in_words_and_for_machines(workdir, rows, capsys):
    shutil.copy(GOLDEN, workdir / "old.db")
    storage = ("--storage", "sqlite:///old.db")
    found = rows("rates", *storage)
    assert {size["status"] for size in found["sizes"]} == {"shown", "not_shown"}
    assert found["law"]["status"] == "not_shown"
    assert main(["rates", *storage, "-o", "rates.html"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert "no law is shown" in text
    assert "lose at most 0.01 of val_accuracy" in " ".join(text.split())
    assert "Best learning rate" in (workdir / "rates.html").read_text()


def test_rates_whose_runs_were_all_stopped_are_counted_as_tried():
    stopped = [run_row(8, 0.01 * 2**n, metric=None, verdict="pruned", number=n) for n in range(12)]
    found = rate_estimates(stopped)[8]
    assert found.reason.startswith("12 learning rates tried, of which 0 have runs that came")
    assert found.trials == tuple(range(12))


def test_where_no_law_is_shown_every_size_says_what_it_lacks():
    rows = [run_row(8, 0.1 * 2**n, metric=0.9, number=n) for n in range(2)]
    rows += [run_row(16, 0.1, metric=0.9, number=9)]
    found = rate_estimates(rows)
    assert isinstance(rate_law(found), NotShown)
    said = left_out_line(found)
    assert said is not None
    assert "8 (2 learning rates tried, wanted at least 3)" in said
    assert "16 (1 learning rate tried, wanted at least 3)" in said


def test_an_interval_that_reaches_beyond_the_usable_range_is_explained():
    sure, unsure = estimate(-1.0, GRID, 0), estimate(-1.0, np.array([-3.0, -1.1, 0.7]), 0)
    assert unsure.low < unsure.usable[0] / 1.5, "the best rate may lie below all usable ones"
    said = meaning_lines({8: sure, 16: unsure, 32: NotShown(reason="none")}, "0.01 of r2")
    assert "lose at most 0.01 of r2" in said[0]
    assert "beyond the second at batch size 16: too few runs" in said[1]
    assert len(meaning_lines({8: sure}, "0.01 of r2")) == 1
    assert meaning_lines({32: NotShown(reason="none")}, "0.01 of r2") == []


def test_every_estimate_names_its_trials():
    rows = [run_row(8, 10 ** (-n / 2), metric=0.9 - 0.01 * n, number=40 + n) for n in range(5)]
    found = rate_estimates(rows)
    assert rates_json(found, rate_law(found))["sizes"][0]["trials"] == [40, 41, 42, 43, 44]
    assert trial_lines(found) == ["8: trials 40-44"]
