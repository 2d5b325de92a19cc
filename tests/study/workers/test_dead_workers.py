"""Workers that die or are paused: their trials go to exactly one other, and nothing comes twice."""

from __future__ import annotations

import signal
import time
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run, carry_out
from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.attributes import OWNER, ROOT, is_finished
from batchfront.study.workers.pulse import Pulse

from ..conftest import ask, finish
from ..noted import noted
from ..processes import Command

GRACE = 2
TASK = ("run", "--task", "planted.py", "--epochs", "5", "--sampler", "random",
        "--batch-sizes", "1:8", "--grace", str(GRACE))  # fmt: skip


DIES = "if params.seed and epoch == 2 and first == 0: os._exit(9)"
INTERRUPTED = """
if params.seed and str(epoch) == os.environ["SIGNAL_IN"]:
    os.kill(os.getpid(), signal.SIGINT)
"""


def trials_of(url: str) -> list[optuna.trial.FrozenTrial]:
    try:
        storage = open_storage(url, mode="reader")
        (name,) = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=name, storage=storage).trials
    except Exception:  # it is just being made
        return []


def wait_until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


@pytest.mark.parametrize(
    "shared_url",
    [
        "sqlite",
        pytest.param("journal", marks=pytest.mark.slow),
        pytest.param("postgresql", marks=[pytest.mark.slow, pytest.mark.postgresql]),
    ],
    indirect=True,
)
def test_a_paused_workers_trial_goes_to_another_and_its_own_result_is_dropped(workdir, shared_url):
    (workdir / "hold").touch()
    paused = Command(*TASK, "--n-trials", "3", cwd=workdir, BATCHFRONT_STORAGE=shared_url)
    wait_until((workdir / "held").exists)
    paused.send_signal(signal.SIGSTOP)
    (workdir / "hold").unlink()
    started = time.monotonic()
    assert main([*TASK, "--n-trials", "3", "--storage", shared_url]) == 0
    assert time.monotonic() - started < 45
    before = trials_of(shared_url)
    assert sum(map(is_finished, before)) == 3
    (taken,) = [t for t in before if t.state == TrialState.FAIL]
    (again,) = [t for t in before if t.user_attrs.get(ROOT) == taken.number]
    assert again.params == taken.params
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)
    paused.send_signal(signal.SIGCONT)
    code, _, err = finish(paused, timeout=60)
    assert (code, "Traceback" in err) == (0, False), err
    after = trials_of(shared_url)
    assert [(t.number, t.state, t.values) for t in after] == [
        (t.number, t.state, t.values) for t in before
    ]


@pytest.mark.timed
def test_a_silent_worker_is_noticed_by_a_pulse_within_the_grace_period(shared_study, shared_url):
    with quiet_optuna():
        storages = [open_storage(shared_url, mode="worker") for _ in range(2)]
        views = [optuna.load_study(study_name="mine", storage=storage) for storage in storages]
        silent, living = (
            Pulse(storage=storage, study=view, grace_seconds=GRACE)
            for storage, view in zip(storages, views, strict=True)
        )
        for view, pulse in zip(views, (silent, living), strict=True):
            trial = ask(view)
            trial.set_user_attr(OWNER, {"host": "elsewhere", "pid": trial.number})
            pulse.hold(trial)  # the silent one is never started: this was its last sign of life
        with living:
            wait_until(lambda: trials_of(shared_url)[0].state == TrialState.FAIL, 4 * GRACE)
            time.sleep(GRACE)  # living twice as long as that now
    states = [t.state for t in trials_of(shared_url)]
    assert states == [TrialState.FAIL, TrialState.RUNNING]


@pytest.mark.slow
def test_a_lost_trial_that_another_fails_while_a_worker_looks_is_run(
    workdir, rows, write_task, monkeypatch
):
    """It takes the last slot in a list that is out of date; nobody else is left to run it."""
    from batchfront.study.workers import next_trial

    task = write_task(noted(after=DIES))
    command = ["run", "--task", task, "--epochs", "5", "--sampler", "random", "--n-trials", "1"]
    finish(Command(*command, cwd=workdir))
    seen, real = [], next_trial.fail_dead

    def slowly(storage: Any, trials: Any, *, alone: bool) -> bool:
        if not seen:
            seen.extend(t.state for t in trials)
            elsewhere = open_storage("sqlite:///runs/batchfront.db", mode="worker")
            elsewhere.set_trial_state_values(trials[0]._trial_id, TrialState.FAIL)
        return real(storage, trials, alone=alone)

    monkeypatch.setattr(next_trial, "fail_dead", slowly)
    assert main(command) == 0
    assert seen == [TrialState.RUNNING]
    assert [r["state"] for r in rows("export")] == ["FAIL", "COMPLETE"]
    assert (workdir / "trained").read_text().split() == ["0", "1", "2", "3", "4"]


def test_a_run_that_ends_short_of_its_total_says_so_by_its_exit_code(workdir):
    """Somebody holds the last slot of whom nobody would notice that he is gone."""
    command = [*TASK, "--n-trials"]
    assert main([*command, "1"]) == 0
    storage = open_storage("sqlite:///runs/batchfront.db", mode="worker")
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    study.enqueue_trial(study.trials[0].params)  # within its space: another would be foreign
    trial = ask(study)
    trial.set_user_attr(OWNER, {"host": "elsewhere", "pid": 1})  # as versions of before wrote it
    assert main([*command, "2"]) == 75
    assert main([*command, "9", "--timeout", "0.001"]) == 0  # that was asked for


def test_what_killed_workers_have_left_of_ended_runs_is_removed(workdir, write_task, monkeypatch):
    """They died after they told their trials, and before they removed the checkpoints."""
    from batchfront.study.workers.claimed import Claimed

    task = write_task(noted())
    command = ["run", "--task", task, "--epochs", "2", "--sampler", "random", "--n-trials"]
    with monkeypatch.context() as patch:
        patch.setattr(Claimed, "forget", lambda self: None)
        patch.setattr("batchfront.study.workers.kept.Kept.tidy", lambda self: None)
        assert main([*command, "2"]) == 0
    whole, half = (workdir / "runs" / "checkpoints").iterdir()
    assert {whole.suffix, half.suffix} == {".pt"}
    half.rename(half.with_name(f"{half.name}.0123abcd.new"))  # a writer died earlier, too
    assert main([*command, "3"]) == 0
    assert list((workdir / "runs" / "checkpoints").iterdir()) == []


def test_workers_that_start_together_with_two_grace_periods_do_not_run_together(
    workdir, capsys, monkeypatch
):
    """Both may open the study while no trial runs; the claims of one find that they disagree."""
    from batchfront.study.session.session import Session

    command, launch = [*TASK[:-2], "--n-trials", "2", "--grace"], Session._launch
    others: list[int] = []

    def overtaken(*args: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Session, "_launch", launch)
            others.append(main([*command, "7"]))
        return launch(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_launch", overtaken)
        assert main([*command[:-2], "5", "--grace", "5"]) == 2
    assert others == [0]
    err = capsys.readouterr().err
    assert "has got a grace period of 7 s from another worker, and this one had 5" in err


def test_another_grace_period_is_refused_while_workers_run_and_kept_otherwise(workdir, capsys):
    command = [*TASK[:-2], "--n-trials"]
    assert main([*command, "1", "--grace", "5"]) == 0
    url = "sqlite:///runs/batchfront.db"
    (name,) = optuna.get_all_study_names(open_storage(url, mode="reader"))
    study = optuna.load_study(study_name=name, storage=open_storage(url, mode="worker"))
    assert study.user_attrs["batchfront_defaults"]["grace_seconds"] == 5
    assert main([*command, "2", "--grace", "7"]) == 0
    assert study.user_attrs["batchfront_defaults"]["grace_seconds"] == 7
    ask(study)
    assert main([*command, "3", "--grace", "9"]) == 2
    assert "grace period of 7 s, now 9" in capsys.readouterr().err


SMALL = """
    import os, time
    import torch
    from torch import nn
    from batchfront.objectives.task import Data, Task, sgd_momentum

    def data():
        g = torch.Generator().manual_seed(0)
        x = torch.randn(300, 8, generator=g)
        y = (x[:, 0] * x[:, 1] > 0).long()
        return Data(x_train=x[:200], y_train=y[:200], x_val=x[200:250], y_val=y[200:250],
                    x_test=x[250:], y_test=y[250:])

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2)
            )

        def forward(self, x):
            if self.training and os.path.exists("after"):
                done = len(os.listdir("runs/checkpoints"))
                while done and os.path.exists("hold"):
                    open("held", "w").close()
                    time.sleep(0.01)
            return self.layers(x)

    def task():
        return Task(name="small", data=data, model=Model, loss=nn.functional.cross_entropy,
                    optimizer=sgd_momentum, epochs=6)
"""


def test_kill_9_costs_an_epoch_and_the_result_is_that_of_an_uninterrupted_run(
    workdir, rows, write_task
):
    task = write_task(SMALL)
    command = ("run", "--task", task, "--sampler", "random", "--pruner", "none",
               "--batch-sizes", "4:16", "--learning-rates", "0.01:0.1")  # fmt: skip
    assert main([*command, "--n-trials", "1"]) == 0  # so that the next command only trains
    (workdir / "hold").touch()
    (workdir / "after").touch()
    worker = Command(*command, "--n-trials", "2", cwd=workdir)
    wait_until((workdir / "held").exists)  # in an epoch after the first checkpoint
    worker.kill()
    worker.wait()
    assert len(list((workdir / "runs" / "checkpoints").glob("*.pt"))) == 1
    (workdir / "hold").unlink()
    assert main([*command, "--n-trials", "2"]) == 0
    (killed,) = [r for r in rows("export") if r["state"] == "FAIL"]
    (again,) = [r for r in rows("export") if r["retry_of"] == killed["number"]]
    params = TrialParams(
        batch_size=again["batch_size"],
        learning_rate=again["learning_rate"],
        epochs=6,
        seed=again["seed"],
        device="cpu",
    )
    run = Run(measure_memory=False)
    carry_out(load_objective(task, device="cpu"), params, run)
    assert again["metric_curve"] == [round(value, 6) for value in run.result().metric_curve]
    assert again["train_loss"] == run.result().train_loss
    assert again["steps"] == run.result().steps
    assert list((workdir / "runs" / "checkpoints").iterdir()) == []


def test_a_run_that_goes_on_did_not_start_over(workdir, rows, write_task):
    """Its process trains only the epochs that were missing."""
    task = write_task(noted(after=DIES))
    command = ("run", "--task", task, "--epochs", "5", "--sampler", "random", "--n-trials", "1")
    finish(Command(*command, cwd=workdir))
    assert main(list(command)) == 0
    assert (workdir / "trained").read_text().split() == ["0", "1", "2", "3", "4"]
    (row,) = [r for r in rows("export") if r["state"] == "COMPLETE"]
    assert row["metric_curve"] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_with_checkpoints_off_nothing_is_kept_and_a_retry_starts_over(workdir, rows):
    (workdir / "hold").touch()
    command = (*TASK, "--n-trials", "1", "--checkpoint-dir", "none")
    worker = Command(*command, cwd=workdir)
    wait_until((workdir / "held").exists)
    worker.kill()
    worker.wait()
    (workdir / "hold").unlink()
    assert main(list(command)) == 0
    assert not (workdir / "runs" / "checkpoints").exists()
    _, again = rows("export")
    assert again["retry_of"] == 0
    assert again["state"] in ("COMPLETE", "PRUNED")


def test_a_checkpoint_folder_that_cannot_be_made_is_one_line(workdir, capsys):
    (workdir / "file").touch()
    assert main([*TASK, "--n-trials", "1", "--checkpoint-dir", "file/below"]) == 2
    err = capsys.readouterr().err
    assert "there can be no checkpoint folder file/below" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("epoch", "ends"), [(2, ["FAIL", "COMPLETE"]), (4, ["COMPLETE"])])
def test_the_epoch_that_a_signal_lets_end_is_kept(
    workdir, rows, write_task, monkeypatch, epoch, ends
):
    """None is trained twice: the next process goes on after it, unless it was the last."""
    monkeypatch.setenv("SIGNAL_IN", str(epoch))
    task = write_task(noted(before=INTERRUPTED))
    command = ["run", "--task", task, "--epochs", "5", "--sampler", "random", "--n-trials", "1"]
    assert main(command) == 130
    assert main(command) == 0
    assert (workdir / "trained").read_text().split() == ["0", "1", "2", "3", "4"]
    assert [r["state"] for r in rows("export")] == ends


def test_a_run_that_raises_leaves_no_checkpoint(workdir, rows, write_task):
    """Not the last one either, after which the worker gives up."""
    task = write_task("""
        def objective(params, run):
            run.begin(20)
            run.step(0.5)
            run.report(0.1)
            run.save({"epoch": len(run.curve)})
            if params.seed:
                raise OSError("no data")
            run.report(0.1)
    """)
    command = ("run", "--task", task, "--epochs", "2", "--sampler", "random", "--n-trials", "9")
    assert main(list(command)) == 1
    assert [r["state"] for r in rows("export")] == ["FAIL"] * 3
    assert list((workdir / "runs" / "checkpoints").iterdir()) == []
