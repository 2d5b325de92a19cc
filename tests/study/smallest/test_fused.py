"""`smallest --fuse`: trials of one size are trained together, and each stays a trial of its own."""

from __future__ import annotations

from typing import Any

import pytest

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run, carry_out
from batchfront.study.cli.main import main
from batchfront.study.trials.attributes import PURPOSE, ROOT
from batchfront.study.workers.worker import Worker
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
        if calls == 29:  # in their third epoch
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


def test_trials_of_a_group_have_the_results_that_lone_runs_have(write_task):
    written(write_task)
    assert main([*ARGS, "--max-trials", "12", "--fuse", "8"]) in (0, 1)
    objective = load_objective("mine.py:task", device="cpu")
    for trial in trials():
        params = TrialParams(
            batch_size=16,
            learning_rate=trial.params["learning_rate"],
            epochs=6,
            seed=trial.user_attrs["seed"],
            device="cpu",
        )
        run = Run(metric=objective.metric, measure_memory=False)
        carry_out(objective, params, run)
        alone = run.result()
        assert trial.user_attrs["verdict"] == alone.verdict.value
        assert trial.values is None or trial.values[0] == pytest.approx(alone.metric, abs=0.01)
    costs = {tuple(trial.values[1:]) for trial in trials() if trial.values}
    assert len(costs) == 1, "time and memory are a lone run's"


def test_what_waits_is_shared_evenly_among_as_few_groups_as_can_be(write_task):
    """Ten rates of at most eight: five and five, not eight and a pair."""
    written(write_task)
    assert main([*ARGS, "--max-trials", "10", "--fuse", "8"]) in (0, 1)
    assert [trial.user_attrs["fused"] for trial in trials()] == [5] * 10


def test_runs_that_other_verbs_lack_are_trained_together(write_task):
    """What a search recommends, confirmed with fresh seeds; and the rates that sizes lack."""
    written(write_task)
    run = ("run", "--task", "mine.py", "--batch-sizes", "16", "--n-trials", "10", "--fuse", "8")
    assert main([*run, "--sampler", "random", "--confirm", "3"]) == 0
    assert main(["claims", "--max-trials", "4"]) == 0  # with the stored setting
    by_purpose: dict[str | None, list[int | None]] = {}
    for trial in trials():
        group = by_purpose.setdefault(trial.user_attrs.get(PURPOSE), [])
        group.append(trial.user_attrs.get("fused"))
    assert by_purpose[None] == [None] * 10, "a search asks for one at a time"
    assert by_purpose["confirm"] == [3] * 3
    assert by_purpose["missing"]
    assert all(by_purpose["missing"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal", "exit_code", "state"), [("SIGKILL", -9, "RUNNING"), ("SIGINT", 130, "FAIL")]
)
def test_a_group_that_is_ended_hands_back_each_of_its_trials_once(
    write_task, workdir, signal, exit_code, state
):
    written(write_task, signal=signal)
    (workdir / "dies").touch()
    command = Command(*ARGS, "--max-trials", "10", "--fuse", "10", cwd=workdir)
    code, _, _ = finish(command, timeout=120)
    assert code == exit_code
    group = trials()[:10]
    died = [trial for trial in group if trial.state.name == state]
    stalled = [trial for trial in group if trial.state.name == "PRUNED"]  # told before it ended
    assert len(died) + len(stalled) == 10
    assert len(died) >= 5
    assert {trial.user_attrs[PURPOSE] for trial in died} == {"tune"}

    assert main([*ARGS, "--max-trials", "12"]) in (0, 1)  # with the stored setting
    after = trials()
    lost = [trial for trial in after if trial.state.name == "FAIL"]
    assert [trial.number for trial in lost] == [trial.number for trial in died]
    roots = [trial.user_attrs[ROOT] for trial in after if ROOT in trial.user_attrs]
    assert sorted(roots) == [trial.number for trial in died]
    again = [trial for trial in after if ROOT in trial.user_attrs]
    assert all(trial.state.name in ("COMPLETE", "PRUNED") for trial in again)
    assert all(trial.user_attrs["fused"] >= 1 for trial in again)
    assert not [trial for trial in after if not trial.state.is_finished()]


def test_where_two_may_not_fit_into_memory_nothing_is_tried(write_task, monkeypatch):
    written(write_task)
    monkeypatch.setattr("batchfront.study.workers.fusing.usable_memory_bytes", lambda device: 0)
    monkeypatch.setattr("batchfront.objectives.fused.traces.traced", None)
    with pytest.warns(UserWarning, match="may not fit into memory"):
        assert main([*ARGS, "--max-trials", "2", "--fuse", "8"]) in (0, 1)
    assert all("fused" not in trial.user_attrs for trial in trials())


def test_no_size_is_tried_by_itself_where_a_smaller_one_is_not_fused(write_task, monkeypatch):
    tried = []

    def why_not(door, group, *, lone_seconds):
        tried.append((group[0].batch_size, lone_seconds))
        return "together they are hardly quicker"

    monkeypatch.setattr("batchfront.study.workers.fusing.Together.why_not", why_not)
    written(write_task)
    args = [word if word != "16" else "8,16" for word in ARGS]
    with pytest.warns(UserWarning, match="hardly quicker"):
        assert main([*args, "--fuse", "auto", "--max-trials", "1"]) in (0, 1)
    ((size, lone_seconds),) = tried
    assert lone_seconds > 0
    study = study_of("mine.py:task")
    assert study.user_attrs["fused"] == {str(size): False}
    study.set_user_attr("fused", {"4": False})
    with pytest.warns(UserWarning, match="a smaller size"):
        assert main([*args, "--max-trials", "2"]) in (0, 1)
    assert tried == [(size, lone_seconds)]
    assert study_of("mine.py:task").user_attrs["fused"] == {"4": False, str(size): False}


def test_members_whose_epochs_are_short_are_not_kept_after_each_of_them(write_task, monkeypatch):
    saves = []
    checkpoint = "batchfront.storage.checkpoint.Checkpoint.save"
    monkeypatch.setattr(checkpoint, lambda self, state: saves.append(state["loop"]["epoch"]))
    written(write_task)
    assert main([*ARGS, "--max-trials", "2", "--fuse", "8"]) in (0, 1)
    assert saves == []
    monkeypatch.setattr("batchfront.study.workers.watched.KEPT_SECONDS", 0.0)
    assert main([*ARGS, "--max-trials", "4"]) in (0, 1)
    assert saves.count(1) >= 2
    assert 2 in saves


def test_groups_are_trained_where_lone_runs_measure_their_memory_too(write_task, monkeypatch):
    """As on an accelerator, whose allocator counts anyway."""
    real = Worker.__init__

    def init(worker: Worker, **options: Any) -> None:
        real(worker, **options)
        worker._measures_always = True

    monkeypatch.setattr(Worker, "__init__", init)
    written(write_task)
    assert main([*ARGS, "--max-trials", "8", "--fuse", "8"]) in (0, 1)
    assert max(trial.user_attrs.get("fused", 0) for trial in trials()) > 1


def test_a_long_search_for_the_smallest_size_names_the_option(write_task, monkeypatch, capsys):
    written(write_task)
    assert main([*ARGS, "--max-trials", "1"]) in (0, 1)
    assert "--fuse" not in capsys.readouterr().err
    monkeypatch.setattr("batchfront.study.smallest.session.LONG_SECONDS", 0.0)
    assert main([*ARGS, "--max-trials", "1"]) in (0, 1)
    said = " ".join(capsys.readouterr().err.split())
    assert "with --fuse auto maybe a fraction of that; what is recorded is not run again" in said


def test_trials_that_cannot_be_fused_are_run_one_by_one_and_that_is_said_once(write_task):
    written(write_task, "nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))")
    with pytest.warns(UserWarning, match="batch size 16 are trained one by one") as said:
        assert main([*ARGS, "--max-trials", "7", "--fuse", "8"]) in (0, 1)
    assert sum("one by one" in str(one.message) for one in said) == 1
    assert all("fused" not in trial.user_attrs for trial in trials())
    assert {trial.state.name for trial in trials()} <= {"COMPLETE", "PRUNED"}
