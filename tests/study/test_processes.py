"""Real processes: signals, kill -9, several workers."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from study.cli import main

from .conftest import finish, spawn

SLOW = {"PLANTED_SECONDS": "0.05"}
TASK = (
    "run",
    "--task",
    "planted.py",
    "--epochs",
    "5",
    "--sampler",
    "random",
    "--batch-sizes",
    "1:8",
)


def _hold_after(workdir, rows, n: int, seconds: float = 60) -> None:
    """Until n trials have finished and another one, which will not end by itself, runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            done = rows("ls")[0]["n_trials"]
        except (AssertionError, ValueError, IndexError):  # no database or no study yet
            done = -1
        if done >= n:
            (workdir / "hold").touch()
        if (workdir / "held").exists():
            return
        time.sleep(0.1)
    pytest.fail(f"no {n} trials within {seconds} s")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_signal_ends_the_trial_prints_the_front_and_does_not_count(
    workdir, rows, signum, code, n_workers
):
    process = spawn(*TASK, "--n-trials", "40", "--n-workers", str(n_workers), cwd=workdir, **SLOW)
    _hold_after(workdir, rows, 3)
    process.send_signal(signum)
    returned, out, err = finish(process)
    (workdir / "hold").unlink()
    assert (returned, out) == (code, "")
    assert "Pareto front" in err
    assert "interrupted with" in err
    (row,) = rows("ls")
    assert (row["n_fail"], row["n_running"]) == (0, 0)
    ended = [r for r in rows("export") if r["state"] == "FAIL"]
    assert {r["fail_reason"] for r in ended} == {"interrupted"}
    assert 1 <= len(ended) <= n_workers  # one may be between two trials

    assert main([*TASK, "--n-trials", str(row["n_trials"] + 2)]) == 0
    assert rows("ls")[0]["n_trials"] == row["n_trials"] + 2


@pytest.mark.parametrize("n_workers", [1, 2])
def test_kill_9_loses_no_finished_trial_and_a_rerun_completes_the_total(workdir, rows, n_workers):
    process = spawn(*TASK, "--n-trials", "12", "--n-workers", str(n_workers), cwd=workdir, **SLOW)
    _hold_after(workdir, rows, 3)
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


def _settle(rows) -> None:
    """Workers whose launcher was killed notice it at their next event and end."""
    end = time.monotonic() + 20
    while rows("ls")[0]["n_running"] and time.monotonic() < end:
        time.sleep(0.1)


def test_two_workers_lose_duplicate_and_overshoot_nothing(workdir, rows):
    code, out, err = finish(
        spawn(*TASK, "--n-trials", "25", "--n-workers", "2", cwd=workdir, PLANTED_SECONDS="0.01")
    )
    assert (code, out) == (0, ""), err
    exported = rows("export")
    assert [r["number"] for r in exported] == list(range(25))
    assert {r["state"] for r in exported} <= {"COMPLETE", "PRUNED"}
    assert len({(r["batch_size"], r["learning_rate"]) for r in exported}) == 25


def test_two_commands_at_once_on_a_fresh_database_do_not_overshoot(workdir, rows):
    processes = [
        spawn(*TASK, "--n-trials", "12", cwd=workdir, PLANTED_SECONDS="0.02") for _ in range(3)
    ]
    for process in processes:
        code, _, err = finish(process)
        assert code == 0, err
    assert [r["number"] for r in rows("export")] == list(range(12))


def test_a_password_in_a_storage_url_appears_nowhere(workdir):
    url = "postgresql+psycopg://me:hunter2@localhost/db?password=hunter2"
    code, out, err = finish(spawn(*TASK, cwd=workdir, BATCHFRONT_STORAGE=url))
    assert code == 2
    assert "hunter2" not in out + err
    assert "***" in err


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
    code = "import sys, study.cli; study.cli.parser(); print(*sys.modules)"
    done = subprocess.run(
        [os.sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(spawn.__globals__["ROOT"])},
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "optuna", "numpy", "plotly", "rich", "sqlalchemy"}
