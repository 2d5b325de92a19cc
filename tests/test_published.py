"""The readers of published data, on small tables of the same form whose truth is planted."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from batchfront.study.errors import StudyError
from batchfront.study.findings.critical.fit import critical_batch
from batchfront.study.findings.critical.show import sentence
from batchfront.study.findings.critical.to_target import to_target
from batchfront.study.smallest.single import SingleRuns
from batchfront.study.trials.rows import runs_of
from benchmarks.others.imported import imported
from benchmarks.others.judged import critical_row, grid_row, smallest_rows, verdict
from benchmarks.others.reference_points import tables
from benchmarks.others.step_law import grids

from .study.conftest import ROOT

SIZES, RATES = (32, 64, 128, 256, 512), [2e-4 * 2 ** (k / 2) for k in range(9)]
LEVELS = {32: 2.56, 64: 2.52, 128: 2.50, 256: 2.503, 512: 2.54}  # the least loss of each size


def _loss(size: int, rate: float) -> float:
    """The best rate is 4e-4 sqrt(size / 32): the exponent is a half."""
    off = math.log2(rate / (4e-4 * math.sqrt(size / 32)))
    return LEVELS[size] + 0.01 * off**2


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Two models for two numbers of tokens each, in a folder like that of a clone."""
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "dense_lr_bs_loss.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["h", "lr", "bs", "loss", "smooth loss", "exp_name", "D", "N", "D/N"])
        for model in (1e8, 5e8):
            for tokens in (2e9, 4e9):
                for size in SIZES:
                    for rate in RATES:
                        loss = _loss(size, rate) - model / 1e9 - tokens / 1e11
                        row = [64, rate, size, loss + 0.01, loss, "x", int(tokens), int(model), 1]
                        writer.writerow(row)
    return tmp_path


def test_a_grid_is_one_model_and_number_of_tokens(clone):
    found = list(grids([clone]))
    names = ["dense 100M 2B", "dense 100M 4B", "dense 500M 2B", "dense 500M 4B"]
    assert [grid.name for grid in found] == names
    assert [len(grid.losses) for grid in found] == 4 * [45]
    assert found[0].least == pytest.approx(2.5 - 0.1 - 0.02, abs=0.001)
    assert [len(half.losses) for half in found[0].halves()] == [23, 22]
    assert not set(found[0].halves()[0].losses) & set(found[0].halves()[1].losses)


@pytest.mark.slow
def test_the_planted_sizes_are_found(clone):
    grid = next(grids([clone]))
    rows = list(smallest_rows(grid))
    assert [row["truth"] for row in rows] == [128, 64, 64]
    assert [row["verdict"] for row in rows] == 3 * ["exact"]
    assert all(half in {"exact", "bounded"} for row in rows for half in row["halves"])


@pytest.mark.slow
def test_the_planted_law_is_found(clone):
    found = grid_row(next(grids([clone])))
    assert (found["sizes"], found["covered"], found["not_shown"]) == (5, 5, 0)
    assert found["exponent"] == pytest.approx(0.5, abs=0.05)
    assert found["theil_sen"] == pytest.approx(0.5, abs=0.01)
    assert found["regret"] < 0.002


@pytest.mark.parametrize(
    ("answer", "bounds", "said"),
    [
        (64, (32, 64), "exact"),
        (128, (64, 128), "bounded"),
        (128, (128, 256), "too large"),
        (32, (32, None), "bounded"),
        (32, (32, 32), "too small"),
        (None, (None, None), "not shown"),
    ],
)
def test_an_answer_is_exact_bounded_or_wrong(answer, bounds, said):
    seen = SingleRuns(
        answer=answer, learning_rate=0.1, smallest=bounds[0], largest=bounds[1],
        frozen_rate=0.1, frozen_answer=None, noise=0.1, trials={},
    )  # fmt: skip
    assert verdict(seen, 64) == said


def _points(folder: Path, name: str, records: dict[str, object]) -> None:
    (folder / name).mkdir()
    (folder / name / "rcps_toy.json").write_text(json.dumps(records))


def _record(size: int, costs: list[float], word: str = "Epochs") -> dict[str, object]:
    rates = {"opt_base_learning_rate": 0.1}
    return {"BS": size, "Hyperparams": rates, f"{word} to converge": costs}


def test_reference_points_are_read_once_and_held_against_another_line(tmp_path):
    line = {
        f"toy_{size}": _record(size, [20 + size / 50 + k for k in (-1, 0, 0, 1)])
        for size in (100, 200, 400, 1000)
    }
    _points(tmp_path, "training_1.0.0", line)
    _points(tmp_path, "training_1.1.0", line)
    more = {**line, "toy_2000": _record(2000, [59.0, 60.0, 60.0, 61.0])}
    _points(tmp_path, "training_2.0.0", more)
    found = list(tables(tmp_path))
    assert [table.name for table in found] == ["toy 1.0.0", "toy 2.0.0"]
    row = critical_row(found[1])
    assert row["line"] == "shown"
    assert row["theil_sen"] == pytest.approx(1000)
    assert row["b_crit"] == pytest.approx(1000, rel=0.02)
    assert row["covers"]
    assert (row["cheapest"], row["within_fifth"], row["measured_right"]) == (100, 200, True)


def test_what_is_called_epochs_and_counts_samples_is_read_as_such(tmp_path):
    costs = {32: [40_000.0, 41_000.0], 64: [50_000.0, 50_000.0], 128: [60_000.0, 61_000.0]}
    records = {str(size): _record(size, some) for size, some in costs.items()}
    _points(tmp_path, "training_1.0.0", records)
    (table,) = tables(tmp_path)
    assert set(table.rows[0]) == {"batch_size", "learning_rate", "seed", "examples_to_target"}


def test_folders_without_such_data_are_refused_in_a_line(tmp_path):
    with pytest.raises(StudyError, match="holds no dense_lr_bs_loss"):
        list(grids([tmp_path]))
    with pytest.raises(StudyError, match="wanted a clone of mlcommons/logging"):
        list(tables(tmp_path))
    (tmp_path / "dense_lr_bs_loss.csv").write_text("lr,bs\n1,2\n")
    with pytest.raises(StudyError, match="has no column 'smooth loss'"):
        list(grids([tmp_path]))


@pytest.mark.parametrize(
    ("file", "measured", "line"),
    [
        ("rnnt_epochs", "512 takes the least, 41 epochs, and 1536 20% more", 698),
        ("bert_examples", "448 takes the least, 2,410,000 examples, and 4608 17% more", 2580),
    ],
)
def test_of_mlperf_what_was_measured_is_said_before_what_a_line_says(file, measured, line):
    with (ROOT / "tests" / "data" / f"mlperf_{file}_to_target.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    with imported(rows) as looked:
        data = to_target(runs_of(looked.trials, looked.names), None)
    found = critical_batch(data.sizes, resolution=data.resolution)
    assert data.resolution > 0, "costs tie: they were counted at evaluations"
    said = sentence(found, data)
    assert said.startswith(f"measured: batch size {measured}, the largest within a fifth of it.")
    assert said.index("measured") < said.index("least of all sizes, tried or not")
    assert found.line is not None
    assert found.line.overhead_20.value == pytest.approx(line, rel=0.01)


@pytest.mark.slow
def test_the_command_prints_what_it_found(clone, tmp_path):
    out = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks.published", "--step-law", str(clone)]
    done = subprocess.run(
        [*command, "--json", str(out)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "smallest, of all runs:   12 exact" in done.stdout
    assert len(json.loads(out.read_text())) == 16
    refused = subprocess.run(command[:3], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "give --step-law or --rcp" in refused.stderr
