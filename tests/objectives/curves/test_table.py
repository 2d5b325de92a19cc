"""Tables of training curves: what a replay needs of them, and snapping.

How rows are read and what else is refused: tests/study/transfer.
"""

from __future__ import annotations

import math

import pytest

from batchfront.objectives.curves.table import COLUMNS, read_table
from batchfront.objectives.measurement import ObjectiveError

HEAD = ",".join(COLUMNS)


def row(**changes) -> str:
    given = {
        "task": "made", "optimizer": "sgd", "batch_size": 8, "learning_rate": 0.1, "seed": 0,
        "epoch": 1, "train_loss": 1.5, "val_accuracy": 0.5, "train_seconds": 0.25,
        "peak_memory_bytes": 1000,
    }  # fmt: skip
    return ",".join(str(value) for value in {**given, **changes}.values())


@pytest.fixture
def write(tmp_path):
    def write(*rows: str, head: str = HEAD):
        path = tmp_path / "table.csv"
        path.write_text("\n".join([head, *rows]) + "\n")
        return path

    return write


@pytest.fixture
def grid(write):
    """Batch sizes 8 and 32, rates .1 and 1, seeds 0 and 7; two epochs."""
    rows = [
        row(batch_size=b, learning_rate=r, seed=s, epoch=e, train_seconds=e * 2 / b,
            peak_memory_bytes=100 * b, val_accuracy=round(b / 100 + r / 10 + s / 1000 + e / 100, 4),
            train_loss=2.4 if r == 0.1 else 1.0)
        for b in (8, 32) for r in (0.1, 1) for s in (0, 7) for e in (1, 2)
    ]  # fmt: skip
    return read_table(write(*rows))


def test_a_table_knows_its_grid_and_costs(grid):
    assert (grid.task, grid.optimizer, grid.epochs) == ("made", "sgd", 2)
    assert grid.batch_sizes == [8, 32]
    assert grid.learning_rates(8) == [0.1, 1]
    assert grid.seeds(8, 0.1) == [0, 7]
    assert grid.epoch_seconds(8) == 0.25
    assert grid.peak_memory_bytes(32) == 3200


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((8, 0.1, 0), (8, 0.1, 0)),
        ((1, 1e-6, 1), (8, 0.1, 7)),
        ((15, 0.31, 2), (8, 0.1, 0)),  # nearer in the logarithm: 16 would be the middle
        ((17, 0.32, 3), (32, 1, 7)),
        ((4096, 99, 4), (32, 1, 0)),
    ],
)
def test_parameters_snap_to_the_grid_and_the_seed_picks_one(grid, asked, found):
    run = grid.nearest(*asked)
    assert (run.batch_size, run.learning_rate, run.seed) == found


def test_a_point_missing_from_the_grid_snaps_within_its_batch_size(write):
    table = read_table(write(row(), row(batch_size=32, learning_rate=1)))
    assert table.nearest(32, 0.1, 0).learning_rate == 1


def test_the_baseline_of_classes_is_the_entropy_of_as_many(grid):
    assert grid.metric == "val_accuracy"
    assert grid.baseline_loss == pytest.approx(math.log(11))  # exp(2.4) = 11.02
    assert grid.baseline_metric == pytest.approx(1 / 11)


def test_a_negative_metric_is_r2_and_its_baseline_the_first_loss(write):
    table = read_table(write(row(val_accuracy=-0.25, train_loss=0.98)))
    assert (table.metric, table.baseline_loss, table.baseline_metric) == ("val_r2", 0.98, 0.0)


def test_nan_and_a_short_run_are_read_and_are_not_finite_or_short(write):
    table = read_table(
        write(
            row(epoch=1), row(epoch=2, train_seconds=1), row(epoch=3, train_seconds=2),
            row(seed=1), row(seed=1, epoch=2, train_loss="nan", val_accuracy="nan"),
            row(seed=2, train_loss="inf"),
        )
    )  # fmt: skip
    assert table.epochs == 3
    assert [table.runs[8, 0.1, s].is_finite for s in (0, 1, 2)] == [True, False, False]
    assert table.epoch_seconds(8) == pytest.approx(2 / 3), "of the longest run"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((row(), row(epoch=2, train_loss="")), "line 3: train_loss is blank, wanted a number"),
        ((row(), row(epoch=2, train_seconds="")), "line 3: train_seconds is blank, wanted a num"),
        ((row(peak_memory_bytes=""),), "line 2: peak_memory_bytes is blank, wanted a whole number"),
        ((row(seed=""),), "line 2: seed is blank, wanted a whole number of at least 0"),
        ((row(), row(epoch=3)), "line 3: epoch 3 of .* follows epoch 1"),
        ((), "table.csv holds no runs"),
    ],
)
def test_a_table_with_gaps_is_refused_with_its_line(write, rows, said):
    with pytest.raises(ObjectiveError, match=said):
        read_table(write(*rows))


def test_missing_columns_are_named(write):
    with pytest.raises(ObjectiveError, match="line 1: lacks the columns seed, train_loss"):
        read_table(write(head=HEAD.replace("seed,", "").replace("train_loss,", "")))
