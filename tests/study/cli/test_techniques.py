"""How runs train, from the command line to the trial and back at a resume."""

from __future__ import annotations

import pytest

from batchfront.study.cli.main import main
from batchfront.study.plan.agreement import AGREEMENT

from ..conftest import study_of

pytestmark = pytest.mark.usefixtures("journal")

RUN = ("run", "--epochs", "1", "--learning-rates", "0.01:0.1", "--pruner", "none")

NORMED = """
    from dataclasses import replace
    from torch import nn
    from batchfront.objectives.tasks.digits import digits

    def model():
        return nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))

    def task():
        return replace(digits(), model=model)
"""


@pytest.mark.parametrize(
    ("asked", "other", "facts"),
    [
        (
            ("--micro-batch-sizes", "64", "--batch-sizes", "256"),
            ("--micro-batch-sizes", "16"),
            {"micro_batch_size": 64},
        ),
        (
            ("--precision", "bfloat16", "--batch-sizes", "256"),
            ("--precision", "float32"),
            {"precision": "bfloat16", "micro_batch_size": None},
        ),
        pytest.param(
            ("--precision", "float16", "--batch-sizes", "256"),
            ("--precision", "float16,float32"),
            {"precision": "float16", "scaler_overflows": 0},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("--checkpoint-activations", "--batch-sizes", "256"),
            ("--micro-batch-sizes", "16"),
            {"precision": None, "statistics_batch_size": None},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_technique_is_recorded_resumed_and_not_mixed_with_another(
    workdir, rows, capsys, asked, other, facts
):
    assert main([*RUN, *asked, "--n-trials", "2"]) == 0
    assert main([*RUN, "--n-trials", "3"]) == 0
    found = rows("export")
    assert [{key: row[key] for key in facts} for row in found] == [facts] * 3
    assert main([*RUN, *other, "--n-trials", "4"]) == 2
    assert "recipe (" in capsys.readouterr().err
    assert main(["probe", *other]) == 2
    assert "was made with another recipe" in capsys.readouterr().err


def test_a_searched_micro_batch_bears_cost_and_is_resumed(workdir, rows):
    argv = [*RUN, "--micro-batch-sizes", "16:128", "--batch-sizes", "256"]
    assert main([*argv, "--sampler", "random", "--n-trials", "5"]) == 0
    assert main([*RUN, "--n-trials", "6"]) == 0
    found = rows("export")
    peaks = {row["micro_batch_size"]: row["peak_memory_bytes"] for row in found}
    assert len(peaks) > 2
    assert sorted(peaks.values()) == [peaks[micro] for micro in sorted(peaks)]
    for row in found:
        assert row["micro_batch_size"] == 2 ** row["log2_micro_batch_size"]
        assert (row["cost_unprobed"] is None) == (row["log2_micro_batch_size"] == 6)


@pytest.mark.slow
def test_any_micro_batch_sizes_are_searched_as_a_list(workdir, rows):
    argv = [*RUN, "--micro-batch-sizes", "24,48,100", "--batch-sizes", "48,96"]
    assert main([*argv, "--sampler", "random", "--n-trials", "8"]) == 0
    assert main([*RUN, "--n-trials", "9"]) == 0
    found = rows("export")
    assert {row["micro_batch"] for row in found} == {24, 48, 100}
    peaks = {}
    for row in found:
        assert row["micro_batch_size"] == min(row["micro_batch"], row["batch_size"])
        assert (row["cost_unprobed"] is None) == (row["micro_batch"] == 48)
        peaks[row["batch_size"], row["micro_batch"]] = row["peak_memory_bytes"]
    assert peaks[96, 24] < peaks[96, 48] < peaks[96, 100]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("16,64", "two powers of two are the ends of a range: write 16:64"),
        ("24:96", "wanted powers of two: 32 is near 24; other sizes are written as 24,48,96"),
        ("0,24", "wanted sizes of at least 1"),
        ("24,x", "micro_batch_sizes is '24,x', wanted whole numbers"),
        ("24,24", "which has 24 twice"),
    ],
)
def test_micro_batch_sizes_that_mean_nothing_are_refused_in_a_line(workdir, capsys, given, said):
    assert main([*RUN, "--micro-batch-sizes", given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_searched_precision_is_a_parameter_of_each_trial(workdir, rows):
    argv = [*RUN, "--precision", "float32,bfloat16", "--batch-sizes", "256"]
    assert main([*argv, "--sampler", "random", "--n-trials", "6"]) == 0
    peaks = {row["precision"]: row["peak_memory_bytes"] for row in rows("export")}
    assert peaks["bfloat16"] < peaks["float32"]


def test_ghost_batches_say_so_and_micro_batches_of_batch_norm_are_flagged(write_task, rows, capsys):
    task = ("--task", write_task(NORMED), "--batch-sizes", "64", "--n-trials", "1")
    assert main([*RUN, *task, "--ghost-batch-size", "16"]) == 0
    assert "note:" not in capsys.readouterr().err
    [row] = rows("export")
    assert (row["statistics_batch_size"], row["batch_norm_micro"]) == (16, None)
    other = ("--study-name", "other")
    assert main([*RUN, *task, *other, "--micro-batch-sizes", "32"]) == 0
    assert capsys.readouterr().err.count("batch norm takes its statistics from micro-batches") == 1
    [row] = rows("export", *other)
    assert (row["statistics_batch_size"], row["batch_norm_micro"]) == (32, True)


@pytest.mark.slow
def test_workers_of_their_own_train_by_the_same_recipe(workdir, rows):
    argv = [*RUN, "--batch-sizes", "256", "--n-trials", "2", "--n-workers", "2"]
    assert main([*argv, "--micro-batch-sizes", "64", "--precision", "bfloat16"]) == 0
    found = {(row["micro_batch_size"], row["precision"]) for row in rows("export")}
    assert found == {(64, "bfloat16")}


@pytest.mark.slow
def test_probe_and_smallest_train_by_it_too(workdir, rows):
    sizes = ("--batch-sizes", "128:256")
    small, whole = rows("probe", *sizes, "--micro-batch-sizes", "16"), rows("probe", *sizes)
    assert [row["peak_memory_bytes"] for row in small] < [row["peak_memory_bytes"] for row in whole]
    argv = ["smallest", *sizes, "--epochs", "1", "--target", "0.2", "--max-trials", "2"]
    assert main([*argv, "--precision", "bfloat16"]) == 0
    assert {row["precision"] for row in rows("export")} == {"bfloat16"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--task", "planted.py", "--precision", "bfloat16"), "a training loop of your own"),
        (("--task", "digits", "--ghost-batch-size", "8"), "this one has no nn.BatchNorm1d"),
        (("--task", "digits", "--compile", "--checkpoint-activations"), "without --compile"),
        (("--precision", "float8"), "wanted float32, bfloat16, float16"),
        (("--micro-batch-sizes", "24:96"), "powers of two"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_study_is_made(workdir, capsys, argv, words):
    assert main(["run", *argv]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (workdir / "runs").exists()


def test_a_study_of_an_old_format_is_not_mixed_with_a_recipe(workdir, capsys):
    args = (*RUN, "--batch-sizes", "256", "--n-trials")
    assert main([*args, "1"]) == 0
    study = study_of("digits")
    study.set_user_attr(AGREEMENT, {**study.user_attrs[AGREEMENT], "format": 1})
    assert main([*args, "2", "--precision", "bfloat16"]) == 2
    assert "another recipe (none, now" in capsys.readouterr().err
    assert main([*args, "2"]) == 0


@pytest.mark.slow
def test_a_budget_that_a_smaller_micro_batch_keeps_cuts_no_batch_size(workdir, rows):
    args = ("--task", "digits-cnn", "--batch-sizes", "8:64", "--micro-batch-sizes", "4:64")
    budget = ("--max-memory", "150KiB", "--sampler", "random", "--n-trials", "6")
    assert main([*RUN, *args, *budget]) == 0
    ran = [row for row in rows("export") if row["state"] == "COMPLETE"]
    assert any(row["peak_memory_bytes"] <= 150 * 1024 for row in ran)


def test_a_critical_batch_size_of_batches_that_grow_is_refused(workdir, capsys):
    grows = ("--schedule", "doubling", "--batch-sizes", "256", "--n-trials", "1")
    assert main([*RUN, *grows]) == 0
    assert main(["critical-batch", "--target", "0.5"]) == 2
    assert "grows within its runs" in capsys.readouterr().err
