"""A checkpoint that cannot be used, or not be written, costs a run its start and no more."""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from batchfront.study.cli.main import main

from ..noted import INTERRUPTED, noted

OPTIONS = ("--epochs", "5", "--sampler", "random", "--batch-sizes", "4", "--n-trials", "1")


@pytest.fixture
def command(write_task) -> list[str]:
    return ["run", "--task", write_task(noted(before=INTERRUPTED)), *OPTIONS]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first process leaves in its folder."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "mine.py").write_text(noted(before=INTERRUPTED))
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchfront.study.probes.prober.PATIENCE_SECONDS", 0.0)
        assert main(["run", "--task", "mine.py", *OPTIONS]) == 130
    return folder


@pytest.fixture
def kept(interrupted: Path, workdir: Path) -> Path:
    """The checkpoint in a folder like that; the next process is not interrupted."""
    shutil.copytree(interrupted, workdir, dirs_exist_ok=True)
    (workdir / "again").touch()
    (file,) = (workdir / "runs" / "checkpoints").iterdir()
    return file


DAMAGE: dict[str, Any] = {
    "nothing at all": lambda kept: kept.update(state={}),
    "no state of the loop": lambda kept: kept["state"].pop("loop"),
    "no epoch": lambda kept: kept["state"].update(loop={}),
    "an epoch in words": lambda kept: kept["state"].update(loop={"epoch": "three"}),
    "a loop that is a list": lambda kept: kept["state"].update(loop=[1]),
    "a run that is a number": lambda kept: kept["state"].update(run=3),
    "a curve in words": lambda kept: kept["state"]["run"].update(curve="ab"),
    "a curve of words": lambda kept: kept["state"]["run"].update(curve=["a", "b"]),
    "laps of two numbers": lambda kept: kept["state"]["run"].update(laps=[(1.0, 2.0)]),
    "laps of words": lambda kept: kept["state"]["run"].update(laps=[("a", "b", "c")]),
    "steps in words": lambda kept: kept["state"]["run"].update(steps="many"),
    "a guard's steps in words": lambda kept: kept["state"]["run"]["guard"].update(steps="many"),
    "half a guard": lambda kept: kept["state"]["run"]["guard"].pop("spikes"),
    "a peak that is a tensor": lambda kept: kept["state"]["run"].update(peak_bytes=torch.ones(3)),
    "no random states": lambda kept: kept["state"]["run"].update(random={}),
    "random states in words": lambda kept: kept["state"]["run"].update(random={"torch": "x"}),
}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, marks=[] if damage == "half a guard" else pytest.mark.slow)
        for damage in DAMAGE
    ],
)
def test_a_checkpoint_with_something_wrong_inside_is_put_aside_and_the_run_starts_anew(
    kept, rows, damage
):
    content = torch.load(kept, weights_only=True)
    DAMAGE[damage](content)
    torch.save(content, kept)
    with pytest.warns(UserWarning, match="cannot be used .* the trial starts over") as said:
        assert main(["run", "--task", "mine.py", *OPTIONS]) == 0
    assert sum("checkpoint" in str(one.message) for one in said) == 1
    assert Path("trained").read_text().split() == [*"012", *"01234"]
    first, second = rows("export")
    assert (first["fail_reason"], second["state"]) == ("interrupted", "COMPLETE")
    assert second["val_accuracy"] == pytest.approx(0.4)
    assert [path.suffix for path in kept.parent.iterdir()] == [".bad"]


def test_a_loop_that_fails_after_it_has_gone_on_has_failed(workdir, rows, write_task, command):
    """Its checkpoint was good: the run does not start over."""
    task = noted(before=INTERRUPTED).replace(
        "run.report", "5 / (0 if first and epoch == 4 else 1); run.report"
    )
    write_task(task)
    assert main(command) == 130
    (workdir / "again").touch()
    assert main(command) == 0
    assert [row["fail_reason"] for row in rows("export")] == ["interrupted", "error"]
    assert (workdir / "trained").read_text().split() == [*"012", *"34"]
    assert list((workdir / "runs" / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("trap", ["pipe", "link"])
def test_a_trap_in_the_folder_of_checkpoints_neither_hangs_nor_fails_a_trial(kept, rows, trap):
    before = kept.read_bytes()
    Path("precious").write_bytes(before)
    kept.unlink()
    if trap == "pipe":
        os.mkfifo(kept)
    else:
        kept.symlink_to(Path("precious").resolve())
    with pytest.warns(UserWarning, match="the trial starts over"):
        assert main(["run", "--task", "mine.py", *OPTIONS]) == 0
    assert [row["state"] for row in rows("export")] == ["FAIL", "COMPLETE"]
    assert Path("precious").read_bytes() == before


def test_numpy_values_are_kept_and_gone_on_with(workdir, rows, write_task, command):
    write_task(noted(before=INTERRUPTED, extra="np.mean([1.0])"))
    assert main(command) == 130
    (workdir / "again").touch()
    assert main(command) == 0
    assert (workdir / "trained").read_text().split() == [*"012", *"34"]


def test_what_cannot_be_kept_is_said_once_by_name_and_costs_no_result(
    workdir, rows, write_task, command
):
    write_task(noted(before=INTERRUPTED, extra="{'best': [lambda: 1]}"))
    (workdir / "again").touch()
    command[-1] = "3"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        assert main(command) == 0
    (line,) = [str(one.message) for one in said if "run.save" in str(one.message)]
    assert "run.save got state['extra']['best'][0] of type function" in line
    assert "\n" not in line
    assert [row["state"] for row in rows("export")] == 3 * ["COMPLETE"]
    assert list((workdir / "runs" / "checkpoints").iterdir()) == []
