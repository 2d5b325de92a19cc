"""`smallest --fuse`: trials of one size are trained together, and each stays a trial of its own."""

from __future__ import annotations

from typing import Any

import pytest

from batchfront.study.cli.main import main
from batchfront.study.trials.attributes import PURPOSE, ROOT
from tests.study.conftest import finish, study_of
from tests.study.processes import Command

pytestmark = pytest.mark.usefixtures("journal")

TASK = """
    import os, signal
    from pathlib import Path
    import torch
    from torch import nn
    from batchfront import Data, Metric, Task

    calls = 0

    def data():
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(256, 4, generator=generator)
        y = (x.sum(dim=1) > 0).long()
        return Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)

    def share(output, y):
        global calls
        if not Path("dies").exists():
            return float((output.argmax(dim=1) == y).double().mean())
        log = Path("runs/study.log")
        calls += log.exists() and '"tune"' in log.read_text()
        if calls == 20:  # in their third epoch
            Path("dies").unlink()
            os.kill(os.getpid(), signal.SIGNAL)
        return float((output.argmax(dim=1) == y).double().mean())

    def task():
        return Task(
            name="tiny",
            data=data,
            model=lambda: nn.Sequential(LAYER, nn.Linear(4, 2)),
            loss=nn.functional.cross_entropy,
            optimizer=torch.optim.SGD,
            metric=Metric("share", function=share),
            epochs=6,
        )
"""
ARGS = ("smallest", "--task", "mine.py", "--target", "0.9", "--batch-sizes", "16", "--grace", "2")


def written(write_task: Any, layer: str = "nn.Identity()", *, signal: str = "SIGKILL") -> None:
    write_task(TASK.replace("LAYER", layer).replace("SIGNAL", signal))


def trials() -> list[Any]:
    return list(study_of("mine.py:task").get_trials(deepcopy=False))


def test_a_group_has_the_trials_and_the_results_that_lone_trials_have(write_task, capsys):
    written(write_task)
    found = {}
    for fuse in ("off", "8"):
        name = f"fused-{fuse}"
        assert main([*ARGS, "--max-trials", "9", "--study-name", name, "--fuse", fuse]) in (0, 1)
        study = study_of(name)
        costs = {trial.values[2] for trial in study.trials if trial.values}
        assert len(costs) == 1, "memory is a lone run's"
        found[fuse] = study.trials
    assert [t.user_attrs.get("fused") for t in found["off"]] == [None] * len(found["off"])
    assert max(t.user_attrs["fused"] for t in found["8"]) == 7
    assert len(found["8"]) == len(found["off"])
    for one, other in zip(found["8"], found["off"], strict=True):
        assert one.params == other.params
        assert one.state == other.state
        assert one.user_attrs["seed"] == other.user_attrs["seed"]
        assert one.user_attrs["verdict"] == other.user_attrs["verdict"]
        assert one.values is None or one.values[0] == pytest.approx(other.values[0], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal", "exit_code", "state"), [("SIGKILL", -9, "RUNNING"), ("SIGINT", 130, "FAIL")]
)
def test_a_group_that_is_ended_hands_back_each_of_its_trials_once(
    write_task, workdir, signal, exit_code, state
):
    written(write_task, signal=signal)
    (workdir / "dies").touch()
    command = Command(*ARGS, "--max-trials", "7", "--fuse", "8", cwd=workdir)
    code, _, _ = finish(command, timeout=120)
    assert code == exit_code
    group = trials()[:7]
    died = [trial for trial in group if trial.state.name == state]
    stalled = [trial for trial in group if trial.state.name == "PRUNED"]  # told before it ended
    assert len(died) + len(stalled) == 7
    assert len(died) >= 5
    assert {trial.user_attrs[PURPOSE] for trial in died} == {"tune"}

    assert main([*ARGS, "--max-trials", "9"]) in (0, 1)  # with the stored setting
    after = trials()
    lost = [trial for trial in after if trial.state.name == "FAIL"]
    assert [trial.number for trial in lost] == [trial.number for trial in died]
    roots = [trial.user_attrs[ROOT] for trial in after if ROOT in trial.user_attrs]
    assert sorted(roots) == [trial.number for trial in died]
    again = [trial for trial in after if ROOT in trial.user_attrs]
    assert all(trial.state.name in ("COMPLETE", "PRUNED") for trial in again)
    assert all(trial.user_attrs["fused"] >= 1 for trial in again)
    assert not [trial for trial in after if not trial.state.is_finished()]


def test_trials_that_cannot_be_fused_are_run_one_by_one_and_that_is_said_once(write_task):
    written(write_task, "nn.Dropout(0.1)")
    with pytest.warns(UserWarning, match="batch size 16 are trained one by one") as said:
        assert main([*ARGS, "--max-trials", "7", "--fuse", "8"]) in (0, 1)
    assert sum("one by one" in str(one.message) for one in said) == 1
    assert all("fused" not in trial.user_attrs for trial in trials())
    assert {trial.state.name for trial in trials()} <= {"COMPLETE", "PRUNED"}
