"""Workers that die or are paused: their trials go to exactly one other, and nothing comes twice."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from objectives.load import load_objective
from objectives.measurement import TrialParams, Verdict
from objectives.run import Run, carry_out
from storage.patience import waits_for_server
from storage.shared import Heartbeat
from storage.url import open_storage
from study.budgets import Budgets
from study.cli import main
from study.ledger import Ledger
from study.limits import Excuse, Limits
from study.pulse import Pulse, Silence
from study.quiet import quiet_optuna
from study.retry import BEAT, after_death, fail_and_queue, queue_again
from study.search.choose import make_sampler
from study.settings import SAMPLERS
from study.space import SearchSpace
from study.trials import CONSTRAINT, DEATHS, OWNER, ROOT, is_finished
from tests.servers import database

from .conftest import finish, spawn

GRACE = 2
DIRECTIONS = ["maximize", "minimize", "minimize"]
TASK = ("run", "--task", "planted.py", "--epochs", "5", "--sampler", "random",
        "--batch-sizes", "1:8", "--grace", str(GRACE))  # fmt: skip


@pytest.fixture(
    params=["sqlite", "journal", pytest.param("postgresql", marks=pytest.mark.postgresql)]
)
def url(request, tmp_path) -> Iterator[str]:
    """An empty storage that several workers share."""
    if request.param == "postgresql":
        with database("postgresql") as found:
            yield found
    else:
        yield f"{request.param}:///{tmp_path}/shared.{request.param}"


@pytest.fixture
def study(url) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name="mine", storage=open_storage(url, mode="worker"), directions=DIRECTIONS
    )


def ask(study: optuna.Study) -> optuna.Trial:
    return study.ask(SearchSpace().distributions())


def wait_until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def trials_of(url: str) -> list[optuna.trial.FrozenTrial]:
    try:
        storage = open_storage(url, mode="reader")
        (name,) = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=name, storage=storage).trials
    except Exception:  # it is just being made
        return []


def test_a_paused_workers_trial_goes_to_another_and_its_own_result_is_dropped(workdir, url):
    (workdir / "hold").touch()
    paused = spawn(*TASK, "--n-trials", "3", cwd=workdir, BATCHFRONT_STORAGE=url)
    wait_until((workdir / "held").exists)
    paused.send_signal(signal.SIGSTOP)
    (workdir / "hold").unlink()
    started = time.monotonic()
    code, _, err = finish(
        spawn(*TASK, "--n-trials", "3", cwd=workdir, BATCHFRONT_STORAGE=url), timeout=60
    )
    assert code == 0, err
    assert time.monotonic() - started < 45
    before = trials_of(url)
    assert sum(map(is_finished, before)) == 3
    (taken,) = [t for t in before if t.state == TrialState.FAIL]
    (again,) = [t for t in before if t.user_attrs.get(ROOT) == taken.number]
    assert again.params == taken.params
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)
    paused.send_signal(signal.SIGCONT)
    code, _, err = finish(paused, timeout=60)
    assert (code, "Traceback" in err) == (0, False), err
    after = trials_of(url)
    assert [(t.number, t.state, t.values) for t in after] == [
        (t.number, t.state, t.values) for t in before
    ]


def test_a_dead_workers_trial_is_queued_by_exactly_one_of_many(study, url):
    trial = ask(study)
    frozen = study.trials[0]
    start = threading.Barrier(6)

    def reap(_: int) -> bool:
        storage = open_storage(url, mode="worker")
        mine = optuna.load_study(study_name="mine", storage=storage)
        start.wait()
        return fail_and_queue(storage, mine, frozen)

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(reap, range(6)))
    assert sum(won) == 1
    first, second = study.trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.WAITING)
    assert second.params == trial.params


def test_a_silent_worker_is_noticed_by_a_pulse_within_the_grace_period(study, url):
    heartbeat = Heartbeat(grace_seconds=GRACE, on_stale=after_death)
    with quiet_optuna():
        storages = [open_storage(url, mode="worker", heartbeat=heartbeat) for _ in range(2)]
        views = [optuna.load_study(study_name="mine", storage=storage) for storage in storages]
        silent, living = (
            Pulse(storage=storage, study=view, heartbeat=heartbeat)
            for storage, view in zip(storages, views, strict=True)
        )
        for view, pulse in zip(views, (silent, living), strict=True):
            trial = ask(view)
            trial.set_user_attr(OWNER, {"host": "elsewhere", "pid": trial.number})
            pulse.hold(trial)  # the silent one is never started: this was its last sign of life
        with living:
            wait_until(lambda: trials_of(url)[0].state == TrialState.FAIL, 4 * GRACE)
            time.sleep(2 * GRACE)
    states = [t.state for t in trials_of(url)]
    assert states == [TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]


@pytest.mark.filterwarnings("ignore:.*RetryHeartbeatStaleTrialCallback")
def test_the_history_of_a_retry_is_where_optuna_looks_for_it(study):
    """Compared with Optuna's own callback, twice in a row."""
    ask(study)
    own, theirs = study, optuna.create_study(directions=DIRECTIONS)
    theirs.add_trial(study.trials[0])
    callback = RetryHeartbeatStaleTrialCallback()
    for _ in range(2):
        queue_again(own, own.trials[-1], n_deaths=1)
        callback(theirs, theirs.trials[-1])
    mine, expected = own.trials[-1], theirs.trials[-1]
    assert (mine.params, mine.system_attrs) == (expected.params, expected.system_attrs)
    assert RetryHeartbeatStaleTrialCallback.retry_history(mine) == [0, 1]
    assert mine.user_attrs[ROOT] == 0


def test_a_retry_inherits_nothing_that_was_measured_and_the_point_of_a_grid(study):
    study.sampler = make_sampler(
        "grid", space=SearchSpace(), seed=0, hardware="", limits=lambda study: None
    )
    trial = ask(study)
    trial.set_user_attr("verdict", "diverged")
    trial.set_constraint(CONSTRAINT, 3.0)  # death came between this and tell
    queue_again(study, study.trials[0], n_deaths=1)
    again = study.trials[1]
    assert "grid_id" in again.system_attrs
    assert (again.constraints, set(again.user_attrs)) == ({}, {ROOT, DEATHS})
    retried = ask(study)
    retried.set_constraint(CONSTRAINT, 0.0)
    assert study.trials[1].constraints == {CONSTRAINT: 0.0}
    assert retried.params == trial.params


def test_three_retries_then_it_stays_failed_and_counts(study, url):
    storage = open_storage(url, mode="worker")
    for n_deaths in range(4):
        ask(study)
        (running,) = [t for t in study.trials if t.state == TrialState.RUNNING]
        assert fail_and_queue(storage, study, running)
        assert sum(map(is_finished, study.trials)) == (n_deaths == 3)
    assert [t.state for t in study.trials] == [TrialState.FAIL] * 4
    assert [t.user_attrs.get(DEATHS, 0) for t in study.trials] == [0, 1, 2, 3]


def beating(number: int, beat: int | None, *, owned: bool = True) -> Any:
    attributes = {OWNER: {}} if owned else {}
    signs = {} if beat is None else {BEAT: beat}
    return SimpleNamespace(number=number, system_attrs=signs, user_attrs=attributes)


def test_silence_is_measured_from_the_last_new_beat_by_the_watchers_clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("study.pulse.time.monotonic", lambda: now[0])
    silence = Silence(10)

    def after(seconds: float, *trials: Any) -> list[int]:
        now[0] += seconds
        return [t.number for t in silence.too_long(list(trials))]

    assert after(0, beating(0, 1), beating(1, 7)) == []
    assert after(9, beating(0, 1), beating(1, 8)) == []
    assert after(2, beating(0, 1), beating(1, 8)) == [0]
    assert after(7, beating(1, 8)) == []
    assert after(2, beating(1, 8)) == [1]
    assert after(50, beating(2, None)) == []  # beats in the database: not ours to judge
    assert after(50, beating(2, None)) == []
    assert after(0, beating(3, None, owned=False)) == []
    assert after(11, beating(3, None, owned=False)) == [3]  # died before it wrote its name
    silence.forget()
    assert after(50, beating(1, 8)) == []


class Losing:
    """A storage that loses the first calls."""

    def __init__(self, lost: float) -> None:
        self.lost, self.n_answered = lost, 0

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.lost -= 1
        if self.lost >= 0:
            raise ConnectionError
        self.n_answered += 1


@waits_for_server(lambda error: isinstance(error, ConnectionError))
class Gone(Losing):
    """As one on a server: calls wait for it."""


def pulse_of(storage: Gone) -> Pulse:
    study = SimpleNamespace(get_trials=lambda **_: [])
    heartbeat = SimpleNamespace(interval_seconds=0.1, grace_seconds=1)
    pulse = Pulse(storage=storage, study=study, heartbeat=heartbeat)
    pulse._trial_id = 0
    return pulse


def test_a_pulse_whose_server_is_away_does_not_keep_its_worker_waiting():
    with pulse_of(Gone(math.inf)) as pulse:
        time.sleep(0.3)
        letting_go = threading.Thread(target=pulse.let_go, daemon=True)
        letting_go.start()
        letting_go.join(10)
        assert not letting_go.is_alive()


def test_after_a_storage_was_away_all_may_beat_again_before_anybody_counts_as_dead(monkeypatch):
    storage, looks = Gone(2), []
    monkeypatch.setattr(
        "optuna.storages.fail_stale_trials", lambda study: looks.append(storage.n_answered)
    )
    with pulse_of(storage):
        wait_until(lambda: looks)
    assert looks[0] >= 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_sampler_of_ours_does_anything_after_a_trial(name):
    """The ledger tells trials without asking the sampler; here is why it may."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    limits = Limits(costs={}, budgets=Budgets(), failed_size=None, device_bytes=2**30)
    study = optuna.create_study(directions=DIRECTIONS)
    with quiet_optuna():
        study.sampler = make_sampler(
            name, space=SearchSpace(), seed=0, hardware="", limits=lambda study: limits
        )
        trial = ask(study)
        before = study.trials
        study.sampler.after_trial(study, before[0], TrialState.COMPLETE, [0.5, 1.0, 1.0])
    assert study.trials == before
    assert trial.number == 0


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
    from objectives.task import Data, Task, sgd_momentum

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
    worker = spawn(*command, "--n-trials", "2", cwd=workdir)
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
    task = write_task("""
        import os
        def objective(params, run):
            first = run.restored["epoch"] if run.restored else 0
            run.begin(10 * params.epochs)
            for epoch in range(first, params.epochs):
                if params.seed:
                    with open("trained", "a") as file:
                        print(epoch, file=file)
                for _ in range(10):
                    run.step(0.5)
                run.report(0.1 * epoch)
                run.save({"epoch": epoch + 1})
                if params.seed and epoch == 2 and first == 0:
                    os._exit(9)
    """)
    command = ("run", "--task", task, "--epochs", "5", "--sampler", "random", "--n-trials", "1")
    finish(spawn(*command, cwd=workdir))
    assert main(list(command)) == 0
    assert (workdir / "trained").read_text().split() == ["0", "1", "2", "3", "4"]
    (row,) = [r for r in rows("export") if r["state"] == "COMPLETE"]
    assert row["metric_curve"] == [0.0, 0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(("epoch", "ends"), [(2, ["FAIL", "COMPLETE"]), (4, ["COMPLETE"])])
def test_the_epoch_that_a_signal_lets_end_is_kept(
    workdir, rows, write_task, monkeypatch, epoch, ends
):
    """None is trained twice: the next process goes on after it, unless it was the last."""
    monkeypatch.setenv("SIGNAL_IN", str(epoch))
    task = write_task("""
        import os, signal
        def objective(params, run):
            first = run.restored["epoch"] if run.restored else 0
            run.begin(10 * params.epochs)
            for epoch in range(first, params.epochs):
                if params.seed:
                    with open("trained", "a") as file:
                        print(epoch, file=file)
                    if str(epoch) == os.environ["SIGNAL_IN"]:
                        os.kill(os.getpid(), signal.SIGINT)
                for _ in range(10):
                    run.step(0.5)
                run.report(0.1 * epoch)
                run.save({"epoch": epoch + 1})
    """)
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
            run.save({})
            if params.seed:
                raise OSError("no data")
            run.report(0.1)
    """)
    command = ("run", "--task", task, "--epochs", "2", "--sampler", "random", "--n-trials", "9")
    assert main(list(command)) == 1
    assert [r["state"] for r in rows("export")] == ["FAIL"] * 3
    assert list((workdir / "runs" / "checkpoints").iterdir()) == []


def test_with_checkpoints_off_nothing_is_kept_and_a_retry_starts_over(workdir, rows):
    (workdir / "hold").touch()
    command = (*TASK, "--n-trials", "1", "--checkpoint-dir", "none")
    worker = spawn(*command, cwd=workdir)
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
    assert "cannot create the checkpoint folder" in err
    assert "Traceback" not in err


def test_where_a_worker_runs_is_told_by_more_than_the_hosts_name():
    """Containers share names, and have process ids of their own."""
    from study.owner import is_dead, this_process

    me = this_process()
    gone = {**me, "pid": 2**22 - 1}
    assert not is_dead(me)
    assert is_dead(gone)
    for key in ("host", "namespace", "boot"):
        assert not is_dead({**gone, key: "another"})
    old = {key: gone[key] for key in ("host", "pid", "started")}  # as versions before wrote it
    assert is_dead(old)
    assert os.getpid() == me["pid"]


def test_the_ledger_stores_a_constraint_as_optuna_does(study, url):
    """Optuna's own call is the oracle: it reads the trial first, so the ledger goes without."""
    ask(study).set_constraint(CONSTRAINT, 2.5)
    trial = ask(study)
    storage = open_storage(url, mode="worker")
    plan = SimpleNamespace(budgets=Budgets())
    ledger = Ledger(storage=storage, study=study, plan=plan)
    excuse = Excuse(verdict=Verdict.OUT_OF_MEMORY, grade=2.5, reason="it was full")
    ledger.out_of_memory(trial, excuse, None)
    expected, found = study.trials
    assert found.constraints == expected.constraints == {CONSTRAINT: 2.5}
    assert found.system_attrs == expected.system_attrs
    assert (found.state, found.user_attrs["reason"]) == (TrialState.PRUNED, "it was full")
