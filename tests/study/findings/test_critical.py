"""The critical batch size: planted lines, recorded ones, and what is no line."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.errors import StudyError
from batchfront.study.findings.critical.fit import Critical, SizeRuns, critical_batch
from batchfront.study.findings.critical.show import as_json, sentence
from batchfront.study.findings.critical.to_target import to_target
from batchfront.study.plan.agreement import AGREEMENT, IMPORTED
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.rows import RunRow
from benchmarks.worlds.costs import planted as elbow
from tests.study.copies import record_of

TABLE = Path(__file__).resolve().parents[2] / "data" / "mlperf_resnet50_epochs_to_target.csv"
SIZES = [2**k for k in range(4, 10)]
INF = float("inf")


def planted(
    rng: np.random.Generator, *, b_crit: float = 100.0, n_seeds: int = 10, noise: float = 0.1
) -> list[SizeRuns]:
    """Runs around E = 10 (1 + B / b_crit)."""
    return [
        SizeRuns(
            batch_size=size,
            learning_rate=0.1,
            to_target=tuple(
                10 * (1 + size / b_crit) * np.exp(noise * rng.standard_normal(n_seeds))
            ),
        )
        for size in SIZES
    ]


def with_costs(sizes: list[SizeRuns], size: int, *costs: float) -> list[SizeRuns]:
    """The same with other runs at one size."""
    return [replace(s, to_target=costs) if s.batch_size == size else s for s in sizes]


@pytest.fixture(scope="module")
def mlperf() -> list[SizeRuns]:
    costs: dict[tuple[int, float], list[float]] = defaultdict(list)
    with TABLE.open() as stream:
        for row in csv.DictReader(stream):
            key = int(row["batch_size"]), float(row["learning_rate"])
            costs[key].append(float(row["epochs_to_target"]))
    return [
        SizeRuns(batch_size=b, learning_rate=r, to_target=tuple(c)) for (b, r), c in costs.items()
    ]


def b_crit(found: Critical) -> float:
    assert found.line is not None, found.reason
    return found.line.b_crit.value


def test_a_line_without_noise_is_found_exactly():
    found = critical_batch(planted(np.random.default_rng(0), noise=0.0))
    assert found.line is not None
    assert found.line.e_min.value == pytest.approx(10)
    assert found.line.b_crit.value == pytest.approx(100)
    assert found.line.s_min.value == pytest.approx(0.1)
    assert found.loo_error == pytest.approx(0, abs=1e-9)
    at_20 = found.line.overhead_20.value
    assert found.line.e_min.value * (1 + at_20 / 100) == pytest.approx(12)


def test_resnet50_of_mlperf_has_its_known_critical_batch_size(mlperf):
    found = critical_batch(mlperf, resolution=1.0)
    assert b_crit(found) == pytest.approx(47_000, rel=0.05)
    assert found.line.b_crit.low < 47_000 < found.line.b_crit.high
    assert found.loo_error <= 0.05


def test_one_bad_seed_among_dozens_does_not_move_it(mlperf):
    before = b_crit(critical_batch(mlperf, resolution=1.0))
    for bad in (INF, 900.0, 2.0):
        spoiled = [replace(s, to_target=(bad, *s.to_target[1:])) for s in mlperf[-1:]]
        after = critical_batch([*mlperf[:-1], *spoiled], resolution=1.0)
        assert b_crit(after) == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize("n", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_intervals_cover_the_planted_truth(n):
    covered = 0
    for seed in range(n):
        line = critical_batch(planted(np.random.default_rng(seed))).line
        covered += line is not None and line.b_crit.low <= 100 <= line.b_crit.high
    assert covered >= 0.88 * n


def test_sizes_that_scatter_more_than_their_seeds_widen_the_interval():
    rng = np.random.default_rng(1)
    still = planted(rng, noise=0.01)
    shaken = [
        replace(s, to_target=tuple(f * c for c in s.to_target))
        for s, f in zip(still, np.exp(0.08 * rng.standard_normal(len(still))), strict=True)
    ]
    narrow, wide = (critical_batch(sizes) for sizes in (still, shaken))
    assert narrow.line is not None
    assert wide.line is not None
    assert narrow.scatter < 0.01 < 0.04 < wide.scatter
    width = [found.line.b_crit.high / found.line.b_crit.low for found in (narrow, wide)]
    assert width[1] > 1.2 * width[0]


@pytest.mark.parametrize(("exponent", "n"), [(0.7, 12), (1.5, 12)])
def test_an_elbow_is_no_line_and_the_size_of_a_fifth_more_is_covered(exponent, n):
    """Of planted curves E = 20 (1 + (B / 400)^p), of which p = 1 alone is a line."""
    truth = 400 * 0.2 ** (1 / exponent)
    lines, covered = 0, 0
    for seed in range(n):
        sizes = elbow(exponent, 0.1, 0.0, np.random.default_rng(seed))
        found = critical_batch(sizes, seed=seed)
        lines += found.line is not None
        if found.curve is not None:
            assert "no straight line" in found.reason
            covered += found.curve.fifth_low <= truth <= found.curve.fifth_high
        elif found.line is not None:
            covered += found.line.overhead_20.low <= truth <= found.line.overhead_20.high
    assert lines <= n // 4
    assert covered >= 0.8 * n


def test_a_line_is_hardly_ever_taken_for_a_curve():
    sizes = [elbow(1.0, 0.1, 0.05, np.random.default_rng(seed)) for seed in range(15)]
    assert sum(critical_batch(some).curve is not None for some in sizes) <= 2


def test_three_sizes_that_grow_off_a_line_are_said_to_grow():
    costs = {64: 50.0, 128: 65.0, 256: 85.0}
    sizes = [
        SizeRuns(batch_size=size, learning_rate=0.1, to_target=(cost - 1, cost, cost + 1))
        for size, cost in costs.items()
    ]
    found = critical_batch(sizes)
    assert found.line is None
    assert "the costs grow with the batch size, but 3 sizes do not say" in found.reason


def test_what_was_measured_comes_before_what_is_extrapolated():
    found = critical_batch(planted(np.random.default_rng(0), noise=0.0))
    assert (found.measured.cheapest, found.measured.within_fifth) == (16, 32)
    assert found.measured.least == pytest.approx(11.6)
    assert found.measured.more == pytest.approx(13.2 / 11.6 - 1)
    assert found.line.e_min.value < found.measured.least


def test_an_infeasible_size_has_no_best_rate():
    rows = [row(8, rate, epochs_to_target=None, number=n) for n, rate in enumerate((0.1, 0.2, 0.3))]
    rows += [row(16, 0.1, epochs_to_target=4.0, number=10 + n) for n in range(3)]
    data = to_target(rows, None)
    assert data.at_edge == []
    shown = as_json(critical_batch(data.sizes), data, None)["rows"]
    assert [(one["learning_rate"], one["trials"]) for one in shown] == [
        (None, [0]),
        (0.1, [10, 11, 12]),
    ]


def test_single_runs_have_a_weaker_answer_whose_interval_covers_the_truth():
    covered = 0
    for seed in range(40):
        sizes = elbow(1.0, 0.1, 0.0, np.random.default_rng(seed), n_seeds=1)
        found = critical_batch(sizes, seed=seed)
        assert found.line is None
        covered += found.single is not None and found.single.low <= 400 <= found.single.high
    assert covered >= 34
    data = to_target([row(8, 0.1, epochs_to_target=3.0)], None)
    assert "a weaker answer: on single runs" in sentence(found, data)
    assert as_json(found, data, None)["single_runs"]["b_crit"] == found.single.b_crit


def test_a_size_that_was_tuned_differently_is_named():
    sizes = planted(np.random.default_rng(2), noise=0.02)
    found = critical_batch(with_costs(sizes, 32, *(c * 2.5 for c in sizes[1].to_target)))
    assert found.line is None
    assert "32 stands out" in found.reason
    upward = critical_batch(with_costs(sizes, 128, *(c * 0.3 for c in sizes[3].to_target)))
    assert upward.line is None
    assert "128 stands out" in upward.reason


def test_costs_that_do_not_grow_only_bound_it_from_below():
    found = critical_batch(planted(np.random.default_rng(3), b_crit=1e6))
    assert found.line is None
    assert "at least" in found.reason
    assert found.at_least > SIZES[-1]


def test_costs_in_proportion_to_the_size_only_bound_it_from_above():
    found = critical_batch(planted(np.random.default_rng(4), b_crit=0.1))
    assert found.line is None
    assert "at most" in found.reason
    assert found.at_most < SIZES[0]


def test_fewer_than_three_sizes_are_no_line():
    found = critical_batch(planted(np.random.default_rng(5))[:2])
    assert "2 of 2 batch sizes can be used" in found.reason


def test_sizes_with_too_few_seeds_are_reported_and_left_out():
    sizes = with_costs(planted(np.random.default_rng(6)), 16, 1.0, 1.0)
    found = critical_batch(sizes)
    assert b_crit(found) == pytest.approx(100, rel=0.4)
    assert found.sizes[0].runs.left_out == "2 runs, wanted at least 3"
    assert found.sizes[0].median is None


def test_a_size_that_most_runs_miss_is_infeasible_and_a_minority_is_not():
    sizes = planted(np.random.default_rng(7), noise=0.05)
    before = b_crit(critical_batch(sizes))
    last = sizes[-1].to_target
    most = critical_batch(with_costs(sizes, 512, *last[:4], *[INF] * 6))
    assert most.sizes[-1].runs.left_out == "infeasible: 4 of 10 runs reached the target"
    some = critical_batch(with_costs(sizes, 512, *sorted(last)[:7], *[INF] * 3))
    assert not some.sizes[-1].runs.left_out
    assert b_crit(some) == pytest.approx(before, rel=0.05)


def test_what_whole_epochs_cannot_tell_is_refused():
    rows = [SizeRuns(batch_size=b, learning_rate=0.1, to_target=(5, 5, 5)) for b in SIZES]
    alike = critical_batch(with_costs(rows, 512, 6, 6, 6), resolution=1.0)
    assert "differ by 1" in alike.reason
    coarse = critical_batch(with_costs(rows, 16, 1, 1, 1), resolution=1.0)
    assert "some size takes 1" in coarse.reason


def row(size: int, rate: float, **known: Any) -> RunRow:
    empty = dict.fromkeys(RunRow.__dataclass_fields__)
    given = {"number": 0, "curve": (), "stride": 1, "finished": True, "verdict": "completed"}
    return RunRow(**{**empty, "batch_size": size, "learning_rate": rate, **given, **known})


def test_the_rate_with_most_seeds_there_is_taken_and_then_the_quickest():
    quick, slow, never = (0.1, 0.9), (0.1, 0.2, 0.9), (0.1, 0.1, 0.1)
    rows = [row(8, 0.1, curve=c) for c in (quick, never)]
    rows += [row(8, 0.2, curve=c) for c in (slow, slow)]
    rows += [row(8, 0.3, curve=quick)]
    rows += [row(8, 0.4, curve=c) for c in (quick, slow)]
    rows += [row(8, 0.8, verdict="diverged", curve=())]
    found = to_target(rows, 0.9)
    assert [(s.learning_rate, s.to_target) for s in found.sizes] == [(0.4, (2.0, 3.0))]
    assert (found.unit, found.resolution, found.n_rates, found.at_edge) == ("epochs", 1.0, 5, [])


def test_a_run_that_diverged_before_its_first_epoch_did_not_get_there():
    rows = [row(8, 0.1, curve=(0.9,)), row(8, 0.1, verdict="diverged", finished=False)]
    assert to_target(rows, 0.9).sizes[0].to_target == (1.0, INF)


def test_the_examples_of_an_epoch_are_read_from_the_steps():
    rows = [row(b, 0.1, curve=(0.9,), epochs=2, total_steps=2 * -(-1079 // b)) for b in (1, 64)]
    assert to_target(rows, 0.9).examples_per_unit == 1079
    played_back = [row(b, 0.1, curve=(0.9,), epochs=2, total_steps=40) for b in (1, 64)]
    assert to_target(played_back, 0.9).examples_per_unit is None


def test_steps_that_were_recorded_become_examples():
    rows = [row(b, 0.1, steps_to_target=1000.0 / b) for b in (4, 8)]
    found = to_target([*rows, row(8, 0.1)], None)
    assert found.unit == "examples"
    assert [s.to_target for s in found.sizes] == [(1000.0,), (1000.0, INF)]


def test_a_target_is_wanted_for_curves_and_for_nothing_else():
    with pytest.raises(StudyError, match=r"best run reached 0.9"):
        to_target([row(8, 0.1, curve=(0.5, 0.9))], None)
    with pytest.raises(StudyError, match="leave out --target"):
        to_target([row(8, 0.1, epochs_to_target=3.0)], 0.9)
    with pytest.raises(StudyError, match="run it first"):
        to_target([row(8, 0.1)], 0.9)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, mlperf: list[SizeRuns]) -> Path:
    """A folder with a study of the MLPerf runs."""
    folder = tmp_path_factory.mktemp("mlperf")
    storage = open_storage(f"sqlite:///{folder}/batchfront.db", mode="worker")
    study = optuna.create_study(
        study_name="mlperf", storage=storage, directions=["maximize", "minimize", "minimize"]
    )
    with quiet_optuna():
        study.set_metric_names(["val_accuracy", "train_seconds", "peak_memory_bytes"])
    study.set_user_attr(AGREEMENT, {**record_of("mlperf"), IMPORTED: {"file": "mlperf.csv"}})
    for sizes in mlperf:
        for cost in sizes.to_target:
            add_run(study, sizes.batch_size, sizes.learning_rate, cost)
    storage.remove_session()
    return folder


@pytest.fixture
def recorded(stored: Path, workdir: Path) -> optuna.Study:
    """That study in the default storage, for writing."""
    shutil.copytree(stored, workdir / "runs")
    storage = open_storage("sqlite:///runs/batchfront.db", mode="worker")
    return optuna.load_study(study_name="mlperf", storage=storage)


def add_run(study: optuna.Study, size: int, rate: float, cost: float) -> None:
    """As an import of the table adds it."""
    kinds = {"batch_size": IntDistribution(1, 10**6), "learning_rate": FloatDistribution(1e-6, 99)}
    study.add_trial(
        create_trial(
            values=(0.76, 1.0, 1.0),
            params={"batch_size": size, "learning_rate": rate},
            distributions=kinds,
            user_attrs={"epochs_to_target": cost, "verdict": "completed"},
        )
    )


def test_the_verb_says_it_in_a_sentence_a_table_and_a_figure(recorded, capsys):
    assert main(["critical-batch", "-o", "runs/critical.html"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("measured: batch size 1632 takes the least, ")
    assert "the critical batch size is 46,800 (" in " ".join(printed.split())
    assert "28 of 28" in printed
    assert "misses a size by 4.4% on average" in printed
    assert "arXiv:1811.03600" in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert "epochs to the target" in Path("runs/critical.html").read_text()


def test_the_verb_says_it_to_machines(recorded, rows):
    found = rows("critical-batch")
    assert found["status"] == "shown"
    low, high = found["b_crit_interval"]
    assert low < found["b_crit"] < high
    assert found["overhead_20"] == pytest.approx(0.2 * found["b_crit"])
    assert found["loo_error"] <= 0.05
    assert found["s_min"] is None, "the table does not say how many examples an epoch has"
    assert [r["batch_size"] for r in found["rows"]][:2] == [1632, 3264]


def test_the_verb_refuses_with_a_reason(recorded, capsys):
    for _ in range(30):  # more than there were: the median of that size is now far off
        add_run(recorded, 8192, 17.0, 300.0)
    assert main(["critical-batch", "--json", "-o", "runs/critical.html"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "not_shown"
    assert "8192 stands out" in found["reason"]
    assert found["b_crit"] is None
    assert Path("runs/critical.html").exists()


def test_no_bound_on_a_batch_size_is_below_one():
    """Five sizes off a line allow curves that rise at once: a fifth more at a batch of nothing."""
    costs = {128: 7.0, 256: 9.0, 512: 11.0, 1024: 13.0, 2048: 22.5}
    sizes = [
        SizeRuns(batch_size=size, learning_rate=0.1, to_target=(cost - 0.1, cost, cost + 0.1))
        for size, cost in costs.items()
    ]
    line = critical_batch(sizes).line
    assert line is not None
    assert line.curve is not None
    assert line.curve.low < 0.4
    assert line.overhead_20.low == line.curve.fifth_low == 1


def test_costs_that_tie_were_counted_at_evaluations_as_often_as_they_differ_least():
    told = {8: (2048.0, 2048.0, 3072.0), 16: (3072.0, 4096.0, 6144.0)}
    rows = [row(size, 0.1, examples_to_target=cost) for size, some in told.items() for cost in some]
    assert to_target(rows, None).resolution == 1024
    exact = [row(size, 0.1, examples_to_target=cost + n) for size, some in told.items()
             for n, cost in enumerate(some)]  # fmt: skip
    assert to_target(exact, None).resolution == 0
    tenths = [row(8, 0.1, epochs_to_target=cost) for cost in (0.8, 0.8, 0.85)]
    assert to_target(tenths, None).resolution == pytest.approx(0.05)
