"""Workers on a real Ray cluster: two nodes of one CPU each, on this machine."""

from __future__ import annotations

import io
import os
import signal
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from study.cli import main
from study.errors import StudyError
from study.launch_ray import RaySession, Slot
from study.ray_cluster import Cluster, check_cluster
from study.ray_node import DIED, Ended
from study.ray_ship import ROOT, shipment
from study.settings import StudySettings
from study.team import SAME_CRASHES

from .conftest import finish, spawn

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
RUN = ("run", "--launcher", "ray", "--sampler", "random", "--epochs", "2", "--batch-sizes", "1:8")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes, until the last test that needs two kills one."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as LocalCluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = LocalCluster(initialize_head=True, head_node_args=node)
    node.pop("include_dashboard")
    second = cluster.add_node(**node)
    yield SimpleNamespace(
        address=cluster.address,
        second=second.node_id,
        kill_second=lambda: cluster.remove_node(second, allow_graceful=False),
    )
    cluster.shutdown()


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


def _until(true, process, seconds: float = 60) -> None:
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
            found += command if b"-m\0study" in command else (folder / "environ").read_bytes()
            found += command
        except OSError:
            continue
    return found


def test_a_study_runs_on_all_nodes_with_the_users_code_and_no_secret_shown(launch, workdir, rows):
    url = "sqlite:///secret-name.db"
    process = launch("--n-trials", "6", BATCHFRONT_STORAGE=url)
    (workdir / "log.hold").touch()
    _until(lambda: _both_nodes_work(workdir), process)
    assert b"secret-name" not in _command_lines_and_environments()
    (workdir / "log.hold").unlink()
    code, out, err = finish(process)
    assert (code, out) == (0, ""), err
    assert "2 workers of 1 CPU on a Ray cluster, this machine" in err
    assert "6/6 trial" in err
    assert "Pareto front" in err
    assert "LAUNCHER=ray" in err
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


def test_a_worker_that_dies_over_and_over_is_given_up(workdir):
    session = RaySession(StudySettings(), Console(file=io.StringIO(), width=200))
    slot, dead = Slot(number=3), Ended(code=DIED, said="killed")
    session._study = SimpleNamespace(get_trials=lambda **_: [])
    for _ in range(SAME_CRASHES):
        session._died(slot, dead, start=object)
    assert len(session._running) == SAME_CRASHES - 1
    assert "worker 3 died (killed), 5 times in a row without a trial" in str(session.failure)


def test_a_trial_finished_between_two_deaths_starts_the_count_again(workdir):
    session = RaySession(StudySettings(), Console(file=io.StringIO()))
    finished = []
    session._study = SimpleNamespace(get_trials=lambda **_: finished)
    slot = Slot(number=0)
    for _ in range(3 * SAME_CRASHES):
        session._died(slot, Ended(code=DIED), start=object)
        state = SimpleNamespace(name="COMPLETE", is_finished=lambda: True)
        finished.append(SimpleNamespace(state=state, user_attrs={}))
    assert session.failure is None


def test_without_ray_one_line_says_how_to_get_it(workdir, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(RUN) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install -c constraints.txt -e '.[ray]'" in line


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--launcher", "rya"], "did you mean 'ray'"),
        (["--ray-address", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["--ray-address", "ray://127.0.0.1:1"], "one of Ray Client"),
        (["--ray-address", "nonsense"], "cannot join a Ray cluster at 'nonsense'"),
        (["--task", "nowhere.py"], "'nowhere.py' is not there"),
        (["--pruner", "nowhere.py:name"], "pruner file 'nowhere.py' is not there"),
    ],
)
def test_what_cannot_be_launched_is_one_line(workdir, capsys, argv, said):
    assert main([*RUN, *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert said in line


def test_a_password_of_the_storage_is_not_shown(workdir, capsys, cluster):
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/db"
    code, out, err = finish(
        spawn(*RUN, "--ray-address", cluster.address, cwd=workdir, BATCHFRONT_STORAGE=url)
    )
    assert code == 2
    assert "hunter2" not in out + err
    assert "***" in err


HERE = ("10.0.0.1", "one")


@pytest.mark.parametrize(
    ("cluster", "settings", "said"),
    [
        (
            Cluster(device="cpu", n_slots=4, hosts=frozenset({HERE, ("10.0.0.2", "two")})),
            StudySettings(),
            "a file of one machine, and the Ray cluster has 2",
        ),
        (
            Cluster(device="cuda", n_slots=2, hosts=frozenset({HERE})),
            StudySettings(n_workers=3),
            "n_workers is 3, and the Ray cluster has 2 GPUs",
        ),
        (
            Cluster(device="cuda", n_slots=0, hosts=frozenset({HERE})),
            StudySettings(),
            "the Ray cluster has no GPU",
        ),
    ],
)
def test_a_cluster_that_cannot_run_the_study_is_refused(cluster, settings, said):
    with pytest.raises(StudyError, match=said):
        check_cluster(cluster, settings)


def test_one_slot_is_a_gpu_or_a_cpu():
    on_gpus = Cluster(device="cuda", n_slots=2, hosts=frozenset({HERE}))
    assert on_gpus.resources == {"num_gpus": 1, "num_cpus": 0}
    assert replace(on_gpus, device="cpu").resources == {"num_cpus": 1}


def test_a_node_is_sent_our_packages_and_the_folder_of_the_task_file(workdir):
    settings = StudySettings(task="planted.py", storage="sqlite:///runs/a.db", launcher="ray")
    with shipment(settings) as sent:
        theirs, environment = sent.settings, sent.runtime_env
    assert environment["working_dir"] == str(workdir)
    assert [Path(p).name for p in environment["py_modules"]] == ["study", "objectives", "storage"]
    assert {".git", ".venv", "runs", "*.db"} <= set(environment["excludes"])
    assert (theirs.task, theirs.study_name) == ("planted.py:objective",) * 2
    assert theirs.storage == f"sqlite:///{workdir}/runs/a.db"
    assert (theirs.launcher, theirs.n_workers) == ("local", 1)
    assert "a.db" not in str(environment)


def test_a_recorded_table_is_sent_alone(workdir):
    table = ROOT / "benchmarks" / "tables" / "wine_sgd.csv.gz"
    with shipment(StudySettings(task=str(table))) as sent:
        assert sent.settings.task == "wine_sgd.csv.gz"
        folder = Path(sent.runtime_env["working_dir"])
        assert [path.name for path in folder.iterdir()] == ["wine_sgd.csv.gz"]
    assert not folder.exists()


def test_a_bundled_task_takes_no_folder_along(workdir):
    with shipment(StudySettings()) as sent:
        assert sent.settings.task == "digits"
        assert not list(Path(sent.runtime_env["working_dir"]).iterdir())


def test_a_task_file_in_the_checkout_does_not_bring_our_packages_twice(workdir):
    task = ROOT / "ours_to_send.py"
    task.write_text("def objective(params, run): ...\n")
    try:
        with shipment(StudySettings(task=str(task))) as sent:
            assert {"/study", "/objectives", "/storage"} <= set(sent.runtime_env["excludes"])
    finally:
        task.unlink()


def test_task_and_pruner_of_different_folders_are_refused(workdir):
    other = workdir / "other"
    other.mkdir()
    (other / "mine.py").write_text("")
    settings = StudySettings(task="planted.py", pruner="other/mine.py:name")
    with pytest.raises(StudyError, match="keep them in the same one"), shipment(settings):
        pass
