"""Batch sizes that are no powers of two, from the command line to what is shown."""

from __future__ import annotations

import pytest

from batchfront.study.cli.main import main
from batchfront.study.findings.overview.figures import heat_map
from batchfront.study.opening.open import the_study
from batchfront.study.smallest.sensitivity import _around

URL = "sqlite:///runs/batchfront.db"
RUN = ("run", "--task", "digits", "--epochs", "2", "--learning-rates", "0.05:0.5")


def test_a_list_is_searched_shown_and_resumed(workdir, rows, capsys):
    asked = [*RUN, "--batch-sizes", "96,24,5000,48"]
    assert main([*asked, "--n-trials", "6"]) == 0
    said = capsys.readouterr().err
    assert "batch size 24, 48, 96 x" in said
    assert "batch sizes 24, 48, 96, 5000 were cut to what data" in said
    assert main([*RUN, "--n-trials", "7"]) == 0  # a bare rerun
    assert main([*asked, "--n-trials", "8"]) == 0  # and one that names the same again
    shown = rows("export")
    assert len(shown) == 8
    assert {row["batch_size"] for row in shown} <= {24, 48, 96}
    for row in shown:
        assert row["total_steps"] == 2 * 1079 // row["batch_size"]
    study = the_study(URL, None)
    assert [t.params["batch_size"] for t in study.trials] == [row["batch_size"] for row in shown]
    axis = heat_map(study.trials, study.metric_names).layout.xaxis
    assert set(axis.ticktext) <= {"24", "48", "96"}
    capsys.readouterr()
    assert main([*RUN, "--batch-sizes", "24,96", "--n-trials", "9"]) == 2
    assert "made with other space" in capsys.readouterr().err


def test_every_size_in_steps_is_probed(workdir, rows):
    asked = ("probe", "--task", "digits", "--epochs", "3", "--batch-sizes", "20:100:40")
    found = rows(*asked)
    assert [row["batch_size"] for row in found] == [20, 60, 100]


@pytest.mark.parametrize(
    ("sizes", "size", "around"),
    [
        ((16, 32, 64, 128), 32, [16, 32, 64]),
        ((24, 48, 96), 96, [48, 96]),
        (tuple(range(16, 129, 16)), 64, [32, 64, 128]),
        ((24, 30, 96), 30, [24, 30, 96]),
        ((24,), 24, [24]),
    ],
)
def test_the_sizes_around_an_answer_are_half_and_twice_or_the_nearest(sizes, size, around):
    assert _around(sizes, size) == around
