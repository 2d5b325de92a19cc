"""`batchfront record`: curves of a grid, written down and played back."""

from __future__ import annotations

import pytest
import torch

from batchfront.objectives.curves.table import read_table
from batchfront.objectives.fused.together import Together
from batchfront.objectives.load import load_objective
from batchfront.study.cli.main import main
from batchfront.study.plan.parsers import AUTO
from batchfront.study.transfer.recorder import Recorder

AGREEMENT = ("record", "--task", "digits", "--epochs", "2", "--batch-sizes", "64:128")
GRID = ("--n-rates", "2", "--n-seeds", "2", "--learning-rates", "1e-2:1e-1")


def test_a_sweep_is_recorded_resumed_and_played_back(workdir, rows, capsys):
    assert main([*AGREEMENT, *GRID, "-o", "a.csv"]) == 0
    assert "8 of 8 runs of 2 epochs missing" in capsys.readouterr().err
    table = read_table("a.csv")
    assert len(table.runs) == 8
    assert table.task == "digits"
    assert {size: len(table.learning_rates(size)) for size in table.batch_sizes} == {64: 2, 128: 2}
    whole = (workdir / "a.csv").read_bytes()
    (workdir / "a.csv").write_bytes(whole[: len(whole) // 2])
    assert main([*AGREEMENT, *GRID, "-o", "a.csv"]) == 0
    assert "of 8 runs of 2 epochs missing" in capsys.readouterr().err
    again = read_table("a.csv")
    for key, run in table.runs.items():
        assert again.runs[key].val_accuracy == run.val_accuracy, "the same seeds, the same curves"
        assert again.runs[key].train_loss == run.train_loss
    assert main([*AGREEMENT, *GRID, "-o", "a.csv"]) == 0
    assert "0 of 8 runs" in capsys.readouterr().err

    assert main(["run", "--task", "a.csv", "--batch-sizes", "64:128", "--n-trials", "12"]) == 0
    known = {value for run in again.runs.values() for value in run.val_accuracy}
    assert {row["val_accuracy"] for row in rows("export")} <= known


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "."], "cannot write .: Is a directory"),
        (["--learning-rates", "auto"], "a table needs its learning rates"),
        (["--config", "c.toml"], "by which technique it was trained"),
        (["-o", "/proc/none/a.csv"], "cannot write /proc/none/a.csv: "),
        (["--n-rates", "0"], "--n-rates is 0, wanted a whole number of at least 1"),
        (["--n-seeds", "-1"], "--n-seeds is -1, wanted a whole number of at least 1"),
        (["-o", "x.csv.gz"], "a table is recorded uncompressed"),
        (["--task", "nothing"], "unknown task 'nothing'"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_line(workdir, capsys, options, said):
    (workdir / "c.toml").write_text('precision = "bfloat16"')
    assert main([*AGREEMENT, *options]) == 2
    assert said in capsys.readouterr().err
    assert not list(workdir.glob("**/*.csv*"))


def test_a_task_that_fails_ends_the_sweep_and_what_is_recorded_stays(write_task, workdir, capsys):
    name = write_task(
        """
        def objective(params, run):
            if params.seed == 1 and params.batch_size == 4:
                raise RuntimeError("out of ink")
            run.begin(100 * params.epochs)
            for _ in range(params.epochs):
                for _ in range(100):
                    sum(range(1000))
                    run.step(1.0)
                run.report(0.5)
        """
    )
    options = ("--batch-sizes", "2:4", "--n-rates", "1", "--n-seeds", "2", "--epochs", "3")
    assert main(["record", "--task", name, *options, "-o", "a.csv"]) == 2
    assert "batch size 4, learning rate 0.0001, seed 1 failed" in capsys.readouterr().err
    assert len(read_table("a.csv").runs) == 3


def test_runs_recorded_together_are_those_recorded_one_by_one(workdir, capsys):
    one = ("record", "--task", "digits", "--epochs", "2", "--batch-sizes", "16")
    grid = ("--n-rates", "3", "--n-seeds", "2", "--learning-rates", "1e-3:3e-2")
    assert main([*one, *grid, "-o", "apart.csv"]) == 0
    assert main([*one, *grid, "-o", "together.csv", "--fuse", "8"]) == 0
    expected, found = read_table("apart.csv").runs, read_table("together.csv").runs
    assert list(found) == list(expected)
    for key, run in expected.items():
        assert found[key].val_accuracy == run.val_accuracy
        assert found[key].train_loss == pytest.approx(run.train_loss, rel=1e-4)
    assert "one by one" not in capsys.readouterr().err


def test_a_grid_of_several_seeds_is_one_group_of_each_batch_size(workdir, monkeypatch):
    sizes = []
    carry_out = Together.carry_out

    def counted(door, group):
        sizes.append((group[0][0].batch_size, len(group)))
        return carry_out(door, group)

    monkeypatch.setattr(Together, "carry_out", counted)
    one = ("record", "--task", "digits", "--epochs", "1", "--batch-sizes", "256,512", *GRID)
    assert main([*one, "--n-seeds", "3", "-o", "a.csv", "--fuse", "4"]) == 0
    assert len(read_table("a.csv").runs) == 12
    assert sizes == [(256, 3), (256, 3), (512, 3), (512, 3)], "not four and two"


def test_a_grid_of_short_runs_is_not_fused_by_itself(workdir, monkeypatch, capsys):
    monkeypatch.setattr("batchfront.objectives.fused.traces.traced", None)
    one = ("record", "--task", "digits", "--epochs", "1", "--batch-sizes", "512", *GRID)
    assert main([*one, "-o", "a.csv", "--fuse", "auto"]) == 0
    assert "so short" in capsys.readouterr().err


def test_a_cut_off_table_of_fused_runs_is_resumed_with_the_same_curves(workdir):
    given = (
        "record",
        "--task",
        "digits",
        "--epochs",
        "1",
        "--batch-sizes",
        "64",
        *GRID,
        "-o",
        "a.csv",
    )
    given = (*given, "--fuse", "4")
    assert main(given) == 0
    whole, table = (workdir / "a.csv").read_bytes(), read_table("a.csv")
    (workdir / "a.csv").write_bytes(whole[: len(whole) * 2 // 5])  # amid a group
    assert main(given) == 0
    again = read_table("a.csv")
    for key, run in table.runs.items():
        assert again.runs[key].val_accuracy == run.val_accuracy
        assert again.runs[key].train_loss == run.train_loss


def test_a_run_that_fails_among_others_ends_the_sweep_and_the_others_are_recorded(
    write_task, workdir, capsys
):
    name = write_task(
        """
        import torch
        from torch import nn
        from batchfront import Data, Metric, Task

        def data():
            x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
            y = (x.sum(dim=1) > 0).long()
            return Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)

        def picky(output, y):
            if output.abs().max() > 1e3:
                raise RuntimeError("out of ink")
            return float((output.argmax(dim=1) == y).double().mean())

        def task():
            return Task(
                name="picky",
                data=data,
                model=lambda: nn.Linear(4, 2),
                loss=nn.functional.cross_entropy,
                optimizer=torch.optim.SGD,
                metric=Metric("picky", function=picky),
            )
        """
    )
    options = ("--batch-sizes", "8", "--epochs", "2", "--n-rates", "3", "--n-seeds", "1")
    rates = ("--learning-rates", "1e-2:1e4")
    given = ["record", "--task", name, *options, *rates, "-o", "a.csv", "--fuse", "4"]
    assert main(given) == 2
    assert "out of ink" in capsys.readouterr().err
    assert len(read_table("a.csv").runs) in (1, 2)


def test_what_cannot_be_fused_is_recorded_one_by_one_and_said_once_a_size(
    write_task, workdir, capsys
):
    name = write_task(
        """
        import torch
        from torch import nn
        from batchfront import Data, Task

        def data():
            x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
            y = (x.sum(dim=1) > 0).long()
            return Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)

        def task():
            return Task(
                name="normed",
                data=data,
                model=lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2)),
                loss=nn.functional.cross_entropy,
                optimizer=torch.optim.SGD,
            )
        """
    )
    options = ("--batch-sizes", "8,16", "--epochs", "2", "--n-rates", "2", "--n-seeds", "2")
    assert main(["record", "--task", name, *options, "-o", "a.csv", "--fuse", "4"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("one by one") == 2
    assert "batch size 8 are trained one by one: its step cannot be traced" in said
    assert len(read_table("a.csv").runs) == 8


@pytest.mark.parametrize("fuse", ["1", "0", "many", "65", "2.5"])
def test_a_number_of_runs_that_cannot_be_fused_is_one_line(workdir, capsys, fuse):
    assert main([*AGREEMENT, "--fuse", fuse]) == 2
    assert f"fuse is '{fuse}', wanted auto, off, or how many" in capsys.readouterr().err


@pytest.mark.parametrize(("free", "n"), [(8, 4), (3, 1), (1000, 32)])
def test_so_many_runs_are_fused_as_half_of_what_is_free_holds(monkeypatch, free, n):
    """And not half of a card of which others hold the rest."""
    peak = 2**20
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda device: (free * peak, 2**40))
    for name in ("memory_reserved", "memory_allocated"):
        monkeypatch.setattr(torch.accelerator, name, lambda device: 0)
    assert (
        Recorder(load_objective("digits", device="cpu"), AUTO, say=print).most(peak, "cuda:0") == n
    )
