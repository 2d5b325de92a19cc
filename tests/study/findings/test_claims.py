"""Every claim against runs where it holds, where the opposite does, and where there are too few."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchfront.study.cli.main import main
from batchfront.study.findings.claims.claim import Claim, Runs
from batchfront.study.findings.claims.show import claim_row, closing_line
from batchfront.study.findings.claims.table import all_claims, rules
from batchfront.study.findings.statistics.lines import fit_line
from batchfront.study.findings.statistics.shape import mean_ranks, shape_of
from batchfront.study.findings.statistics.trends import (
    mean_interval,
    within_correlation,
)
from batchfront.study.opening.open import find_study
from batchfront.study.trials.hardware import known_hardware, store_costs, stored_costs
from batchfront.study.trials.rows import RunRow
from tests.study.recorded import run_row

SIZES = (8, 16, 32, 64, 128, 256)
RATES = [10 ** (-3 + 0.4 * step) for step in range(9)]
Known = dict[str, Any]


def made(
    *,
    sizes: Sequence[int] = SIZES,
    exponent: float = 0.5,
    rise: float = 0.0,
    half: float = 0.0,
    curvature: float = 0.08,
    sharper: float = 0.0,
    noise: float = 0.001,
    n_seeds: int = 3,
    early: float = 1.0,
    more: Callable[[int, np.random.Generator], Known] = lambda size, random: {},
) -> list[RunRow]:
    """A grid of runs whose error is 0.03, and more away from the best rate.

    Args:
        rise: of the error, per doubling of the size.
        half: how much larger the error is after half of the epochs.
        curvature: of the error, over decades of the rate.
        sharper: relative, of the curvature, per doubling.
        early: how much of the error's differences shows after 2 epochs, the rest being noise.
        more: what else is known of a run.
    """
    random = np.random.default_rng(0)
    rows = []
    for k, size in enumerate(sizes):
        best = -2.2 + exponent * np.log10(size / sizes[0])
        for rate in RATES:
            off = np.log10(rate) - best
            for seed in range(n_seeds):
                curved = curvature * (1 + sharper) ** k * off**2
                error = 0.03 + k * rise + min(0.8, curved) + noise * random.standard_normal()
                other = 0.3 + 0.2 * random.standard_normal()
                first = early * error + (1 - early) * other
                curve = [0.2, 1 - first, *8 * [1 - error - half], *10 * [1 - error]]
                rows.append(
                    run_row(
                        size,
                        rate,
                        seed=seed,
                        metric=1 - error,
                        curve=tuple(curve),
                        total_steps=20 * 1000 // size,
                        **more(size, random),
                    )
                )
    return rows


def claim(name: str, rows: Sequence[RunRow], **options: Any) -> Claim:
    return rules()[name](name, Runs(rows=rows, **options))


def costs(seconds: Callable[[int], float]) -> Any:
    return lambda size, random: {"train_seconds": 20 * seconds(size), "hardware": "a"}


def peaks(peak: Callable[[int], int]) -> Any:
    return lambda size, random: {"peak_memory_bytes": peak(size)}


def gaps(gap: Callable[[int], float]) -> Any:
    return lambda size, random: {"generalization_gap": gap(size) + 0.001 * random.standard_normal()}


def spikes(mean: Callable[[int], float]) -> Any:
    return lambda size, random: {"n_spikes": int(random.poisson(mean(size)))}


FASTER = "larger is faster per epoch"
SOONER = "larger is faster to the target"
MEMORY = "memory grows with batch size"
POWERS = "powers of two are faster than neighbours"
HIGHER = "smaller ends better, in as many epochs"
IN_STEPS = "smaller ends better, in as many steps"
GAP = "the generalization gap grows with batch size"
PER_EPOCH = "small batches spike more, per epoch"
PER_STEP = "small batches spike more, per step"
NEIGHBOURS = "adjacent sizes barely differ"
EARLY = "2 epochs predict the end"
SHRINKS = "usable learning rates shrink with batch size"
LINEAR = "best rate grows linearly with batch size"
ROOT = "best rate grows with its square root"
BETWEEN = (8, 12, 16, 24, 32)

PLANTED: dict[str, tuple[Known, Known]] = {  # a study where it holds, and one of the opposite
    FASTER: (
        {"more": costs(lambda b: 1 / b)},
        {"more": costs(lambda b: 1 / b + (0.1 if b == 256 else 0.0))},
    ),
    SOONER: ({"more": costs(lambda b: 1 / b)}, {"more": costs(lambda b: b)}),
    MEMORY: ({"more": peaks(lambda b: 1000 + b)}, {"more": peaks(lambda b: 5000 - b)}),
    POWERS: (
        {"sizes": BETWEEN, "more": costs(lambda b: (1 / b) * (1.3 if b % 8 or b == 24 else 1))},
        {"sizes": BETWEEN, "more": costs(lambda b: 1 / b)},
    ),
    HIGHER: ({"rise": 0.004}, {"rise": -0.004}),
    IN_STEPS: ({"rise": 0.01}, {"half": 0.02}),
    GAP: ({"more": gaps(lambda b: b / 1e4)}, {"more": gaps(lambda b: 1 / b)}),
    PER_EPOCH: ({"more": spikes(lambda b: 40 / b)}, {"more": spikes(lambda b: b / 40)}),
    PER_STEP: ({"more": spikes(lambda b: 2000 / b**2)}, {"more": spikes(lambda b: b / 40)}),
    NEIGHBOURS: ({"rise": 0.0}, {"rise": 0.03}),
    EARLY: ({}, {"early": 0.0}),
    SHRINKS: (
        {"curvature": 0.03, "sharper": 0.5, "exponent": 0.3},
        {"curvature": 0.2, "sharper": -0.3, "exponent": 0.3},
    ),
    LINEAR: ({"exponent": 1.0}, {"exponent": 0.0}),
    ROOT: ({"exponent": 0.5}, {"exponent": 0.0}),
}
TARGET = {SOONER: {"target": 0.9}}


def test_every_claim_is_planted():
    assert set(rules()) == set(PLANTED)


@pytest.mark.parametrize("name", PLANTED)
def test_a_claim_agrees_where_it_holds_and_disagrees_where_the_opposite_does(name):
    holds, opposite = PLANTED[name]
    agreed = claim(name, made(**holds), **TARGET.get(name, {}))
    assert agreed.verdict == "agree", agreed
    assert agreed.text
    refuted = claim(name, made(**opposite), **TARGET.get(name, {}))
    assert refuted.verdict == "disagree", refuted


@pytest.mark.parametrize("name", PLANTED)
def test_with_too_little_data_a_claim_is_not_shown_with_the_reason(name):
    holds, _ = PLANTED[name]
    sizes = holds.get("sizes", SIZES)[:1]
    for rows in ([], made(**{**holds, "sizes": sizes, "n_seeds": 1})[:4]):
        found = claim(name, rows, **TARGET.get(name, {}))
        assert found.verdict == "not_shown"
        assert found.why_not


@pytest.mark.parametrize("name", [HIGHER, GAP, PER_EPOCH, NEIGHBOURS, SHRINKS])
def test_what_noise_alone_could_have_made_is_not_shown(name):
    """A small effect under much noise, from single runs."""
    more = {GAP: gaps(lambda b: 0.01), PER_EPOCH: spikes(lambda b: 1.0)}
    known = {"more": more[name]} if name in more else {}
    assert claim(name, made(noise=0.02, n_seeds=2, **known)).verdict == "not_shown"


def shape_in(heights, seed, scatter):
    """The shape of five runs a size around planted heights, sizes scattered around those."""
    random = np.random.default_rng(seed)
    own = np.array(heights) + scatter * random.standard_normal(len(heights))
    runs = {2**k: (h + random.standard_normal(5)).tolist() for k, h in enumerate(own)}
    return shape_of(*mean_ranks(runs), seed=0)


@pytest.mark.parametrize("scatter", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("n_sizes", [5, 6, 9])
def test_sizes_that_differ_for_no_reason_make_no_trend(scatter, n_sizes):
    """At most one of fifty studies; of 200 simulated ones 8 are still likely then."""
    found = [shape_in(n_sizes * [0.0], seed, scatter) for seed in range(200)]
    assert sum(bool(shape.trend or shape.is_bent) for shape in found) <= 8


@pytest.mark.parametrize(("n_sizes", "scatter"), [(5, 0.0), (6, 0.5), (7, 1.0), (9, 1.0)])
def test_a_trend_is_found_though_sizes_scatter(n_sizes, scatter):
    found = [shape_in(2.0 * np.arange(n_sizes), seed, scatter) for seed in range(50)]
    assert sum(shape.trend == 1 for shape in found) >= 45
    assert not any(shape.is_bent for shape in found)


def test_an_arch_or_a_u_shape_is_no_trend_and_its_extreme_is_found():
    for sign in (1, -1):
        found = [shape_in(2.0 * sign * np.abs(np.arange(9.0) - 5), s, 0.3) for s in range(30)]
        assert sum(shape.is_bent for shape in found) >= 27
        assert not any(shape.trend for shape in found)
        assert all(shape.is_valley == (sign == 1) for shape in found if shape.is_bent)


@pytest.mark.parametrize("scatter", [0.0, 1.0, 2.0])
def test_a_line_through_few_scattered_sizes_is_as_wide_as_they_say(scatter):
    wrong = 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        seen = scatter * random.standard_normal(4) + random.standard_normal(4)
        draws = seen[:, None] + random.standard_normal((4, 300))
        line = fit_line(np.arange(4.0), draws, finest=0.002, seed=seed)
        low, high = line.interval(0.99, strict=True)
        wrong += low > 0 or high < 0
        loose = line.interval(0.99)
        assert low <= loose[0] <= loose[1] <= high
    assert wrong <= 4


def test_a_metric_that_is_best_in_the_middle_does_not_end_better_at_small_sizes():
    """A steep fall on one side only would pass for a line."""
    sizes = tuple(2 ** (k + 2) for k in range(8))
    heights = {size: 0.006 * (k - 3) ** 2 for k, size in enumerate(sizes)}
    rows = [replace(row, metric=row.metric - heights[row.batch_size]) for row in made(sizes=sizes)]
    found = claim(HIGHER, rows)
    assert found.verdict == "disagree"
    assert found.figures["best"] == 32
    assert "at 32, the best: a U-shape" in found.text


def test_the_closing_line_says_what_each_look_may_err_by():
    found = all_claims(made(more=gaps(lambda b: b / 1e4)))
    chances = {one.name: one.chance for one in found}
    assert chances[GAP] == chances[HIGHER] == 0.02
    assert chances[LINEAR] == pytest.approx(0.01)
    said = closing_line(found)
    assert "at most 1% or 2% of studies" in said
    assert f"about {sum(chances.values()):.1f} may err" in said


def test_a_claim_names_the_trials_behind_it():
    rows = [replace(row, number=n) for n, row in enumerate(made(more=gaps(lambda b: b / 1e4)))]
    by_name = {one.name: one for one in all_claims(rows)}
    tuned = set(by_name[GAP].trials)
    assert 0 < len(tuned) < len(rows)
    assert tuned == {row.number for row in Runs(rows=rows).tuned_rows}
    assert set(by_name[LINEAR].trials) == {row.number for row in rows}


U_SIZES = tuple(2**k for k in range(10))
U_SECONDS = [1.58, 0.9, 0.55, 0.33, 0.22, 0.16, 0.19, 0.28, 0.4, 0.57]


def test_a_u_shape_is_said_as_such_with_its_best_size_and_both_sides():
    seconds = dict(zip(U_SIZES, U_SECONDS, strict=True))
    found = claim(SOONER, made(sizes=U_SIZES, more=costs(seconds.get)), target=0.9)
    assert found.verdict == "disagree"
    assert "at 32, the best: a U-shape" in found.text
    assert "3.16 at 1, 1.14 at 512" in found.text
    assert found.figures["best"] == 32


def test_sizes_that_are_left_out_are_named_with_the_reason():
    rows = [row for row in made(more=gaps(lambda b: b / 1e4)) if row.batch_size != 64]
    few = [row for row in made(sizes=(64,)) if row.learning_rate in RATES[:2]]
    found = claim(GAP, [*rows, *few])
    assert found.verdict == "agree"
    assert found.left_out == {64: "2 learning rates tried, wanted at least 3"}


def test_seconds_to_a_target_that_a_run_never_reaches_count_as_longer_than_any():
    rows = made(rise=0.03, more=costs(lambda b: 0.01 if b == 256 else b))
    found = claim(SOONER, rows, target=0.84)
    assert found.verdict == "disagree"
    assert "not by all at 256" in found.text
    assert "give --target" in claim(SOONER, rows).why_not
    assert "no tuned run reaches 1" in claim(SOONER, rows, target=1.0).why_not


def test_times_of_other_hardware_are_not_mixed_in():
    rows = made(more=costs(lambda b: 1 / b))
    strange = run_row(4, 0.1, metric=0.9, train_seconds=1e-6, hardware="b")
    assert claim(FASTER, [*rows, strange]).verdict == "agree"


def test_the_best_quarter_of_each_size_is_judged_apart():
    """After 2 epochs good runs all look alike, and bad ones are bad already."""
    rows = [replace(r, curve=(0.2, min(r.curve[1], 0.93), *r.curve[2:])) for r in made()]
    found = claim(EARLY, rows)
    assert found.verdict == "agree"
    assert found.figures["among_best_quarter"][0] < 0.3


def test_runs_without_spikes_show_nothing_about_them():
    assert "tuned runs spiked" in claim(PER_STEP, made(more=spikes(lambda b: 0))).why_not


def test_the_correlation_within_groups_ignores_what_lies_between_them():
    random = np.random.default_rng(0)
    groups = [
        [(k + random.standard_normal(), k + random.standard_normal()) for _ in range(40)]
        for k in (0, 100)
    ]
    found = within_correlation(groups, 0.99, seed=0)
    assert found is not None
    assert found[1] < 0 < found[2]
    assert within_correlation([group[:4] for group in groups], 0.99, seed=0) is None


def test_the_interval_of_a_mean_covers_it():
    covered = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        truths = 0.1 * random.standard_normal(5)
        seen = truths + 0.1 * random.standard_normal(5)
        draws = seen[:, None] + 0.1 * random.standard_normal((5, 500))
        low, high = mean_interval(draws, 0.95)
        covered += low <= 0 <= high
    assert covered >= 180


GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden-0.6.0.db"


def test_all_claims_come_in_the_order_of_the_table():
    assert [one.name for one in all_claims([])] == list(rules())


def test_the_verb_prints_a_table_and_json(workdir, rows, capsys):
    shutil.copy(GOLDEN, workdir / "old.db")
    storage = ("--storage", "sqlite:///old.db")
    found = rows("claims", *storage)
    assert [row["name"] for row in found] == list(rules())
    assert {row["verdict"] for row in found} <= {"agree", "disagree", "not_shown"}
    assert found[0]["verdict"] == "agree"
    assert main(["claims", *storage, "--target", "0.9"]) == 0
    text = capsys.readouterr().out
    prose, _, command = text.partition("to run them: ")
    assert max(map(len, prose.splitlines())) <= 100
    assert command.startswith("batchfront claims --study-name digits --target 0.9")
    assert "of 14 shown" in text
    assert main(["claims", *storage, "--target", "90"]) == 2


def test_claims_go_by_what_sizes_are_known_to_cost_today(workdir, rows):
    """The study looks as if a first probe of the largest size that completed had been wrong."""
    shutil.copy(GOLDEN, workdir / "old.db")
    url = "sqlite:///old.db"
    study = find_study(url, "digits")
    (hardware,) = known_hardware(study)
    costs = stored_costs(study, hardware)
    slow = replace(costs[256], step_seconds=1000 * costs[256].step_seconds)
    store_costs(study, hardware, {**costs, 256: slow})
    assert rows("claims", "--storage", url)[0]["verdict"] == "disagree"


def test_a_row_for_machines_holds_the_figures():
    row = claim_row(claim(MEMORY, made(**PLANTED[MEMORY][0])))
    assert row["figures"]["peak_memory_bytes"][8] == 1008


def test_half_a_run_whose_rate_decays_is_no_run_of_half_as_long(workdir, rows):
    assert claim(IN_STEPS, made(rise=0.01)).verdict == "agree"
    assert "follow a schedule" in claim(IN_STEPS, made(rise=0.01), steady=False).why_not
    run = ["run", "--batch-sizes", "256", "--epochs", "2", "--n-trials", "1"]
    assert main([*run, "--rate-schedule", "cosine"]) == 0
    found = {row["name"]: row for row in rows("claims")}
    assert "follow a schedule" in str(found[IN_STEPS])
