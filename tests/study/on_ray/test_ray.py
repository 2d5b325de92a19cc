"""Workers on a real Ray cluster: two nodes of one CPU each, on this machine."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from batchfront.study.cli.main import main
from batchfront.study.plan.goal import MOST_TRIALS

from ..conftest import finish, spawn

TASK = """
    import os, time

    from neighbour import LOSS

    HERE = os.path.dirname(__file__)
    LOG = {log!r}

    def objective(params, run):
        import ray

        if params.seed:  # in a trial: probes have seed 0
            node = ray.get_runtime_context().get_node_id()
            with open(LOG, "a") as log:
                print(node, os.getpid(), HERE, file=log)
        run.begin(10 * params.epochs, baseline_loss=1.0)
        for epoch in range(params.epochs):
            for _ in range(10):
                run.step(LOSS)
            with run.validating():
                while params.seed and os.path.exists(LOG + ".hold"):
                    time.sleep(0.01)
                time.sleep(0.1 if params.seed else 0)
            run.report(0.5 + 0.1 * epoch)
"""
pytestmark = [pytest.mark.slow, pytest.mark.timed]  # nodes answer each other in time, or are dead
RUN = ("run", "--launcher", "ray", "--sampler", "random", "--epochs", "2", "--batch-sizes", "1:8")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes, until the last test that needs two kills one."""
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = _with_a_head({**node, "include_dashboard": False})
    second = cluster.add_node(**node)
    yield SimpleNamespace(
        address=cluster.address,
        second=second.node_id,
        kill_second=lambda: cluster.remove_node(second, allow_graceful=False),
    )
    cluster.shutdown()


def _with_a_head(node: dict[str, object], tries: int = 3):
    """Ray's own cluster with its first node, which on a busy machine does not come up each time."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_gcs_server_port_wait_time_s"] = "75"  # noqa: SIM112
    from ray.cluster_utils import Cluster as LocalCluster

    for _ in range(tries - 1):
        with suppress(RuntimeError):  # "Timed out waiting for file .../gcs_server_port_..."
            return LocalCluster(initialize_head=True, head_node_args=node)
    return LocalCluster(initialize_head=True, head_node_args=node)


@pytest.fixture
def launch(cluster, workdir):
    """Starts `run` on the cluster with a task whose neighbour is needed; returns the process."""
    home = workdir / "home"
    home.mkdir()
    (home / "neighbour.py").write_text("LOSS = 0.5\n")
    text = textwrap.dedent(TASK).format(log=str(workdir / "log"))
    (home / "slow.py").write_text(text)

    def start(*args: str, **environment: str):
        task = ("--task", "home/slow.py", "--ray-address", cluster.address)
        return spawn(*RUN, *task, *args, cwd=workdir, **environment)

    return start


def _ran(workdir: Path) -> list[list[str]]:
    """Node, process and folder of every trial."""
    log = workdir / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def _until(true, process, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not true():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"it did not come to that: {process.communicate()}")
        time.sleep(0.05)


def _both_nodes_work(workdir: Path) -> bool:
    return len({node for node, _, _ in _ran(workdir)}) == 2


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _command_lines_and_environments() -> bytes:
    """Of every process but this one's children that were given the storage, and this one."""
    found = b""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            found += command if b"-m\0batchfront" in command else (folder / "environ").read_bytes()
            found += command
        except OSError:
            continue
    return found


def test_a_study_runs_on_all_nodes_with_the_users_code_and_no_secret_shown(launch, workdir, rows):
    url = "sqlite:///secret-of-ray.db"
    process = launch("--n-trials", "6", BATCHFRONT_STORAGE=url)
    (workdir / "log.hold").touch()
    _until(lambda: _both_nodes_work(workdir), process)
    assert b"secret-of-ray" not in _command_lines_and_environments()
    (workdir / "log.hold").unlink()
    code, out, err = finish(process)
    assert (code, out) == (0, ""), err
    assert "2 workers of 1 CPU on a Ray cluster, this machine" in err
    assert "6/6 trial" in err
    assert "Pareto front" in err
    assert "--launcher ray" in err
    assert "raylet" not in err
    exported = rows("export", "--storage", url)
    assert len(exported) == 6
    assert {row["state"] for row in exported} == {"COMPLETE"}
    assert {row["device"] for row in exported} == {"cpu"}
    for _, pid, folder in _ran(workdir):
        assert int(pid) != process.pid
        assert Path(folder).resolve() != workdir / "home", "not what was sent"


@pytest.mark.parametrize(
    ("signum", "code", "n_workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1)]
)
def test_a_signal_ends_all_workers_which_hand_back_their_trials(
    launch, workdir, rows, signum, code, n_workers
):
    (workdir / "log.hold").touch()
    at_once = ("--checkpoint-dir", "none")  # a trial that holds would never end its epoch
    process = launch("--n-trials", "40", "--n-workers", str(n_workers), *at_once)
    _until(lambda: len(_ran(workdir)) == n_workers, process)
    process.send_signal(signum)
    returned, out, err = finish(process)
    assert (returned, out) == (code, ""), err
    assert "interrupted with" in err
    (row,) = rows("ls")
    assert (row["n_fail"], row["n_running"]) == (0, 0)
    ended = [r for r in rows("export") if r["state"] == "FAIL"]
    assert [r["fail_reason"] for r in ended] == ["interrupted"] * n_workers


def test_a_search_of_its_own_end_ends_on_all_nodes_and_says_why(launch, workdir, rows):
    for _ in ("searched", "at its end"):
        code, out, err = finish(launch("--n-trials", "auto"))
        assert (code, out) == (0, ""), err
        assert "died" not in err
        (row,) = rows("ls")
        assert row["n_trials"] < MOST_TRIALS
        n_done = row["n_trials"] - row["n_fail"]
        assert f"ended after {n_done} trials: more are expected to gain less than" in err
    assert f"resuming: {n_done} trials recorded" in err


def test_a_budget_is_spent_by_all_nodes_together(launch, workdir, rows):
    code, out, err = finish(launch("--n-trials", "40", "--budget", "0.01s"))
    assert (code, out) == (0, ""), err
    assert "of 10 ms are spent" in err
    assert sum(row["train_seconds"] for row in rows("export")) <= 0.01


def test_what_a_worker_cannot_go_on_with_ends_the_launch_with_one_line(cluster, workdir, capsys):
    task = ("--task", "planted.py", "--ray-address", cluster.address)
    assert main([*RUN, *task, "--launcher", "local", "--n-trials", "1"]) == 0
    code, out, err = finish(spawn(*RUN, *task, "--epochs", "3", cwd=workdir))
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert "was made with other epochs (2, now 3)" in err.splitlines()[-1]


def test_a_killed_worker_and_a_killed_node_do_not_end_the_study(launch, cluster, workdir, rows):
    (workdir / "log.hold").touch()
    process = launch("--n-trials", "6")
    _until(lambda: _both_nodes_work(workdir), process)
    os.kill(int(_ran(workdir)[0][1]), signal.SIGKILL)
    _until(lambda: len(_ran(workdir)) == 3, process)
    orphan = [int(pid) for node, pid, _ in _ran(workdir) if node == cluster.second][-1]
    cluster.kill_second()
    _until(lambda: _is_gone(orphan), process)  # Ray's processes outlive their node for a moment
    (workdir / "log.hold").unlink()
    code, out, err = finish(process)
    assert (code, out) == (0, ""), err
    assert "died (WorkerCrashedError: The worker died unexpectedly" in err
    assert "died (NodeDiedError: Task failed because the node it was running on is dead" in err
    assert "raylet" not in err
    (row,) = rows("ls")
    assert (row["n_trials"], row["n_running"]) == (6, 0)
    lost = [r for r in rows("export") if r["state"] == "FAIL"]
    assert [r["fail_reason"] for r in lost] == ["worker died"] * 2


def test_a_password_of_the_storage_is_not_shown(workdir, capsys, cluster):
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/db"
    code, out, err = finish(
        spawn(*RUN, "--ray-address", cluster.address, cwd=workdir, BATCHFRONT_STORAGE=url)
    )
    assert code == 2
    assert "hunter2" not in out + err
    assert "***" in err
