"""Real processes: signals, kill -9, several workers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import optuna
import pytest

from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main

from ..conftest import finish, spawn
from ..processes import Command

SLOW = {"PLANTED_SECONDS": "0.05"}
TASK = ("run", "--task", "planted.py", "--epochs", "5", "--sampler", "random",
        "--batch-sizes", "4:8")  # fmt: skip


def _n_finished(workdir) -> int:
    """Asked of the file itself: opening a storage as often would keep the CPU from the workers."""
    database = f"file:{workdir}/runs/batchfront.db?mode=ro"
    count = "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
    try:
        with closing(sqlite3.connect(database, uri=True)) as connection:
            return connection.execute(count).fetchone()[0]
    except sqlite3.OperationalError:  # no database or no tables yet
        return -1


def _hold_after(workdir, n: int, seconds: float = 60) -> None:
    """Until n trials have finished and another one, which will not end by itself, runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _n_finished(workdir) >= n:
            (workdir / "hold").touch()
        if (workdir / "held").exists():
            return
        time.sleep(0.1)
    pytest.fail(f"no {n} trials within {seconds} s")


@pytest.mark.parametrize(
    ("send", "signum", "code", "n_workers"),
    [
        pytest.param(os.killpg, signal.SIGINT, 130, 2, marks=pytest.mark.slow),
        (os.kill, signal.SIGTERM, 143, 1),
        pytest.param(os.kill, signal.SIGHUP, 143, 1, marks=pytest.mark.slow),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_a_signal_lets_the_epoch_end_and_hands_the_trial_back(
    workdir, rows, send, signum, code, n_workers
):
    """A terminal signals all of its processes, and still reaches the workers once."""
    command = (*TASK, "--n-trials", "40", "--n-workers", str(n_workers))
    start = spawn if n_workers > 1 else Command  # workers leave the group that is signalled
    process = start(*command, cwd=workdir, start_new_session=True, **SLOW)
    _hold_after(workdir, 3)
    send(process.pid, signum)
    time.sleep(1.0)
    assert process.poll() is None  # the epoch goes on; a second Ctrl-C would have ended it
    (workdir / "hold").unlink()
    returned, out, err = finish(process)
    assert (returned, out) == (code, "")
    assert "Pareto front" in err
    assert "interrupted with" in err
    (row,) = rows("ls")
    assert (row["n_fail"], row["n_running"]) == (0, 0)
    exported = rows("export")
    ended = [r for r in exported if r["state"] == "FAIL"]
    assert {r["fail_reason"] for r in ended} == {"interrupted"}
    assert 1 <= len(ended) <= n_workers  # one may be between two trials
    queued = [r for r in exported if r["state"] == "WAITING"]
    assert {_run(r): _point(r) for r in queued} == {_run(r): _point(r) for r in ended}

    assert main([*TASK, "--n-trials", str(row["n_trials"] + 2)]) == 0
    assert rows("ls")[0]["n_trials"] == row["n_trials"] + 2
    after = {r["number"]: r for r in rows("export")}
    assert all(after[r["number"]]["state"] in ("COMPLETE", "PRUNED") for r in queued[:2])


def _run(row) -> int:
    """The trial whose run it is."""
    return row["number"] if row["retry_of"] is None else row["retry_of"]


def _point(row) -> tuple[int, float]:
    return row["batch_size"], row["learning_rate"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "signals", "code", "seconds"),
    [
        (("--n-workers", "2"), [signal.SIGINT] * 2, 130, 25),
        (("--checkpoint-dir", "none"), [signal.SIGINT], 130, 25),
        (("--n-workers", "2"), [signal.SIGTERM], 143, 20),
    ],
    ids=["a second Ctrl-C", "Ctrl-C without checkpoints", "SIGTERM in a long epoch"],
)
def test_a_run_that_is_in_a_hurry_ends_soon_and_still_hands_the_trial_back(
    workdir, rows, options, signals, code, seconds
):
    process = Command(*TASK, "--n-trials", "40", *options, cwd=workdir)
    _hold_after(workdir, 1)
    process.send_signal(signals[0])
    for signum in signals[1:]:
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signum)
    returned, _, _ = finish(process, timeout=seconds)
    assert returned == code
    assert rows("ls")[0]["n_running"] == 0
    assert any(r["state"] == "WAITING" for r in rows("export"))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again_and_its_trial_completed(workdir, rows):
    process = Command(*TASK, "--n-trials", "12", "--n-workers", "2", cwd=workdir, **SLOW)
    _hold_after(workdir, 3)
    pid = _both_held(workdir)[0]["owner"]["pid"]
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    (workdir / "hold").unlink()
    code, _, err = finish(process)
    assert code == 0, err
    exported = rows("export")
    (killed,) = [r for r in exported if r["state"] == "FAIL"]
    assert killed["fail_reason"] == "worker died"
    (again,) = [r for r in exported if r["retry_of"] == killed["number"]]
    assert _point(again) == _point(killed)
    assert (again["worker_deaths"], again["seed"]) == (1, killed["seed"])
    assert rows("ls")[0]["n_trials"] == 12


def _running(workdir) -> list[dict]:
    storage = open_storage(f"sqlite:///{workdir}/runs/batchfront.db", mode="reader")
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    return [t.user_attrs for t in trials if t.state.name == "RUNNING" and "owner" in t.user_attrs]


def _both_held(workdir, seconds: float = 60) -> list[dict]:
    """What two workers run that cannot end it: other trials are over within a second."""
    end, before = time.monotonic() + seconds, []
    while time.monotonic() < end:
        running = _running(workdir)
        if len(running) == 2 and [r["seed"] for r in running] == before:
            return running
        before = [r["seed"] for r in running]
        time.sleep(1)
    pytest.fail(f"no two trials are held within {seconds} s")


@pytest.mark.slow
def test_a_trial_that_kills_its_workers_is_given_up_after_three_retries(
    rows, write_task, monkeypatch
):
    monkeypatch.setattr("batchfront.study.workers.team.LONGEST_PAUSE_SECONDS", 0.2)
    task = write_task("""
        import os
        def objective(params, run):
            run.begin(10)
            if params.seed and params.batch_size == 4:
                os._exit(9)
            for _ in range(10):
                run.step(0.5)
            run.report(0.5)
    """)
    command = ("run", "--task", task, "--epochs", "1", "--sampler", "grid", "--n-trials", "4")
    space = ("--batch-sizes", "2:8", "--learning-rates", "0.1:0.1001")
    assert main([*command, *space, "--n-workers", "2"]) == 0
    dead = [r for r in rows("export") if r["state"] == "FAIL"]
    assert {r["batch_size"] for r in dead} == {4}
    # The other worker may meanwhile have drawn another point of that size.
    chain = [r for r in dead if _run(r) == dead[0]["number"]]
    assert [r["worker_deaths"] for r in chain] == [None, 1, 2, 3]
    assert rows("ls")[0]["n_trials"] == 4  # the one that was given up counts


def test_a_crash_loop_ends_with_the_reason(workdir, capsys, monkeypatch, write_task):
    monkeypatch.setattr("batchfront.study.workers.team.SAME_CRASHES", 2)
    monkeypatch.setattr("batchfront.study.workers.team.LONGEST_PAUSE_SECONDS", 0.2)
    task = write_task("""
        import os
        def objective(params, run):
            run.begin(10)
            if params.seed:
                os._exit(9)
            for _ in range(10):
                run.step(0.5)
            run.report(0.5)
    """)
    command = ("run", "--task", task, "--epochs", "1", "--sampler", "random", "--n-trials", "9")
    assert main([*command, "--n-workers", "2"]) == 1
    err = capsys.readouterr().err.replace("\n", " ")
    assert "died 2 times in a row, the last time with exit code 9" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("n_workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_kill_9_loses_no_finished_trial_and_a_rerun_completes_the_total(workdir, rows, n_workers):
    process = Command(*TASK, "--n-trials", "12", "--n-workers", str(n_workers), cwd=workdir, **SLOW)
    _hold_after(workdir, 3)
    process.kill()
    process.wait()
    (workdir / "hold").unlink()
    before = {r["number"]: r for r in rows("export") if r["state"] in ("COMPLETE", "PRUNED")}
    assert len(before) >= 3
    assert main([*TASK, "--n-trials", "12"]) == 0
    after = {r["number"]: r for r in rows("export")}
    assert {number: after[number] for number in before} == before
    _settle(rows)
    (row,) = rows("ls")
    assert (row["n_trials"], row["n_running"]) == (12, 0)
    killed = [r for r in rows("export") if r["state"] == "FAIL"]
    assert {r["fail_reason"] for r in killed} <= {"worker died", "interrupted"}
    assert killed
    again = {r["retry_of"] for r in after.values()}
    assert {r["number"] for r in killed} <= again | {r["number"] for r in killed if r["retry_of"]}


def _settle(rows) -> None:
    """Workers whose launcher was killed notice it at their next event and end."""
    end = time.monotonic() + 20
    while rows("ls")[0]["n_running"] and time.monotonic() < end:
        time.sleep(0.1)


def test_two_workers_lose_duplicate_and_overshoot_nothing(workdir, rows, capsys, monkeypatch):
    monkeypatch.setenv("PLANTED_SECONDS", "0.01")
    assert main([*TASK, "--n-trials", "25", "--n-workers", "2"]) == 0
    assert capsys.readouterr().out == ""
    exported = rows("export")
    assert [r["number"] for r in exported] == list(range(25))
    assert {r["state"] for r in exported} <= {"COMPLETE", "PRUNED"}
    assert len({(r["batch_size"], r["learning_rate"]) for r in exported}) == 25


@pytest.mark.slow
def test_two_commands_at_once_on_a_fresh_database_do_not_overshoot(workdir, rows):
    processes = [
        Command(*TASK, "--n-trials", "12", cwd=workdir, PLANTED_SECONDS="0.02") for _ in range(2)
    ]
    for process in processes:
        code, _, err = finish(process)
        assert code == 0, err
    assert [r["number"] for r in rows("export")] == list(range(12))


def test_a_password_in_a_storage_url_appears_nowhere(workdir, capfd, monkeypatch):
    url = "postgresql+psycopg://me:hunter2@localhost/db?password=hunter2"
    monkeypatch.setenv("BATCHFRONT_STORAGE", url)
    assert main(TASK) == 2
    out, err = capfd.readouterr()
    assert "hunter2" not in out + err
    assert "***" in err


@pytest.mark.timed
def test_help_takes_less_than_half_a_second(workdir):
    """User CPU seconds of a fresh interpreter, best of three: heavy imports must wait."""
    spent = []
    for _ in range(3):
        before = os.times()
        process = spawn("run", "--help", cwd=workdir)
        code, out, _ = finish(process)
        after = os.times()
        assert code == 0
        assert "--n-trials" in out
        spent.append(after.children_user - before.children_user)
    assert min(spent) < 0.5


def test_no_heavy_package_is_imported_for_help(workdir):
    code = "import sys; from batchfront.study.cli.main import parser; parser(); print(*sys.modules)"
    done = subprocess.run(
        [os.sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(spawn.__globals__["ROOT"])},
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "optuna", "numpy", "plotly", "rich", "sqlalchemy"}
