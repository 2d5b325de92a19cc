"""What is checked and sent before a study runs on a Ray cluster, without one."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from rich.console import Console

from batchfront.study.cli.main import main
from batchfront.study.errors import StudyError
from batchfront.study.on_ray.cluster import Cluster, check_cluster
from batchfront.study.on_ray.node import DIED, Ended
from batchfront.study.on_ray.session import RaySession, Slot
from batchfront.study.on_ray.shipment import shipment
from batchfront.study.plan.settings import StudySettings
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.ending import End
from batchfront.study.trials.attributes import PURPOSE
from batchfront.study.workers.team import SAME_CRASHES
from tests.study.conftest import ROOT

RUN = ("run", "--launcher", "ray")
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


def test_a_worker_that_dies_over_and_over_is_given_up(workdir):
    session = RaySession(StudySettings(), Console(file=io.StringIO(), width=200))
    slot, dead = Slot(number=3), Ended(code=DIED, said="killed")
    session._study = SimpleNamespace(get_trials=lambda **_: [])
    for _ in range(SAME_CRASHES):
        session._died(slot, dead, start=object)
    assert len(session._running) == SAME_CRASHES - 1
    assert "worker 3 died (killed), 5 times in a row without a trial" in str(session.failure)


def test_a_trial_finished_between_two_deaths_starts_the_count_again(workdir, monkeypatch):
    session = RaySession(StudySettings(), Console(file=io.StringIO()))
    finished = []
    session._study = SimpleNamespace(get_trials=lambda **_: finished)
    monkeypatch.setattr("batchfront.study.on_ray.session.n_finished", lambda study: len(finished))
    slot = Slot(number=0)
    for _ in range(3 * SAME_CRASHES):
        session._died(slot, Ended(code=DIED), start=object)
        state = SimpleNamespace(name="COMPLETE", is_finished=lambda: True)
        finished.append(SimpleNamespace(state=state, user_attrs={}))
    assert session.failure is None


def test_an_end_that_one_worker_found_is_one_once_the_others_trials_have_ended(workdir):
    session = RaySession(StudySettings(n_trials="auto"), Console(file=io.StringIO()))
    session._study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    space = SearchSpace(batch_sizes=(32, 64))
    running = session._study.ask(space.distributions())
    session._theirs = End(why="enough", expected=None)
    assert not session._is_complete()
    session._study.tell(running, [0.9, 1.0, 1.0])
    assert session._is_complete()
    assert not session._stopping(), "another worker may just be asking for a trial"
    beside = session._study.ask(space.distributions())
    beside.set_user_attr(PURPOSE, "smallest")
    assert session._is_complete(), "a trial of another question is nothing to wait for"
    session._theirs = None
    assert not session._is_complete()


def test_a_node_is_sent_our_packages_and_the_folder_of_the_task_file(workdir):
    settings = StudySettings(task="planted.py", storage="sqlite:///runs/a.db", launcher="ray")
    with shipment(settings) as sent:
        theirs, environment = sent.settings, sent.runtime_env
        (package,) = map(Path, environment["py_modules"])
        parts = [path.name for path in sorted(package.iterdir())]
        assert not any(path.is_symlink() for path in package.rglob("*"))
    assert package.name == "batchfront"
    assert parts == ["__init__.py", "__main__.py", "objectives", "storage", "study"]
    assert environment["working_dir"] == str(workdir)
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


def test_task_and_pruner_of_different_folders_are_refused(workdir):
    other = workdir / "other"
    other.mkdir()
    (other / "mine.py").write_text("")
    settings = StudySettings(task="planted.py", pruner="other/mine.py:name")
    with pytest.raises(StudyError, match="keep them in the same one"), shipment(settings):
        pass


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
