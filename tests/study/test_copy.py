"""`python -m study copy`: a study moves to another storage, and goes on there."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from storage.url import open_storage
from study import copying
from study.cli import main
from study.create import DIRECTIONS, RECORD
from study.quiet import quiet_optuna
from study.writing import content
from tests import servers
from tests.study.conftest import finish, spawn

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden-0.5.0.db"
SPACE = {
    "log2_batch_size": IntDistribution(0, 9),
    "learning_rate": FloatDistribution(1e-4, 3, log=True),
    "activation": CategoricalDistribution(("relu", "tänh", None)),
}
PARAMS = {"log2_batch_size": 5, "learning_rate": 0.1 + 0.2, "activation": "tänh"}


@pytest.fixture
def source(workdir: Path) -> str:
    return f"sqlite:///{workdir}/source.db"


def make(url: str, name: str = "mine") -> optuna.Study:
    """A study with a trial of every state, and attributes of every kind."""
    storage = open_storage(url, mode="worker")
    study = optuna.create_study(storage=storage, study_name=name, directions=list(DIRECTIONS))
    with quiet_optuna():
        study.set_metric_names(["val_accuracy", "train_seconds", "peak_memory_bytes"])
    given: dict[str, Any] = {"params": PARAMS, "distributions": SPACE}
    text = {"note": "größe", "curve": [0.1, float("nan")], "long": "x" * 20_000}
    constraint = {"constraints": [2.5]}
    for trial in (
        optuna.create_trial(values=[0.9, 1e-300, 2.0**53], user_attrs=text, **given),
        optuna.create_trial(
            state=TrialState.PRUNED, user_attrs=text, system_attrs=constraint, **given
        ),
        optuna.create_trial(state=TrialState.FAIL, intermediate_values={3: 0.5}),
        optuna.create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": PARAMS}),
        optuna.create_trial(
            state=TrialState.RUNNING,
            user_attrs={"owner": {"pid": 1}, "retry_of": 2, "worker_deaths": 1},
            system_attrs={**constraint, "batchfront_beat": 7, "grid_id": 4},
            **given,
        ),
    ):
        study.add_trial(trial)
    study.set_user_attr(RECORD, {"task": "planted"})
    study.set_user_attr("ключ", {"a": [1, None]})
    return study


def everything(url: str, *, times: bool = True) -> Any:
    """All of the only study, apart from ids; NaN as text, since it equals nothing."""
    storage = open_storage(url, mode="reader")
    (found,) = storage.get_all_studies()
    trials = [
        (
            content(trial),
            *((trial.datetime_start, trial.datetime_complete) if times else ()),
        )
        for trial in storage.get_all_trials(found._study_id)
    ]
    return found.study_name, found.directions, found.user_attrs, found.system_attrs, trials


def copied(source: str, target: str, *options: str) -> int:
    return main(["copy", "--from", source, "--to", target, *options])


@pytest.fixture
def tour(workdir: Path) -> Iterator[list[str]]:
    """Storages of all kinds, one after the other."""
    with servers.database("postgresql") as postgresql, servers.database("mysql") as mysql:
        files = [f"journal:///{workdir}/there.log", f"sqlite:///{workdir}/back.db"]
        yield [postgresql, mysql, *files]


@pytest.mark.postgresql
@pytest.mark.mysql
@pytest.mark.parametrize("golden", [False, True], ids=["every-state", "golden"])
def test_a_study_is_the_same_after_a_tour_of_all_storages(source, tour, workdir, golden):
    if golden:
        shutil.copy(GOLDEN, workdir / "source.db")
    else:
        make(source)
    assert copied(source, f"sqlite:///{workdir}/first.db") == 0  # queues what runs
    here = f"sqlite:///{workdir}/first.db"
    wanted, untimed = everything(here), everything(here, times=False)
    for target in tour:
        assert copied(here, target) == 0
        assert everything(target, times=False) == untimed
        if target == tour[0]:
            assert everything(target) == wanted  # MySQL has whole seconds only
        here = target


def test_a_finished_trial_keeps_its_times_and_a_running_one_is_queued(source, workdir, capsys):
    study = make(source)
    assert copied(source, f"journal:///{workdir}/there.log") == 0
    assert "running trials run nowhere in the copy: 1 are queued there" in capsys.readouterr().err
    storage = open_storage(f"journal:///{workdir}/there.log", mode="worker")
    there = optuna.load_study(study_name="mine", storage=storage)
    assert study.trials[4].state == TrialState.RUNNING  # the source stays as it is
    assert [t.state for t in there.trials] == [
        *(t.state for t in study.trials[:4]),
        TrialState.WAITING,
    ]
    for before, after in zip(study.trials[:4], there.trials, strict=False):
        assert (after.datetime_start, after.datetime_complete) == (
            before.datetime_start,
            before.datetime_complete,
        )
    queued = there.trials[4]
    assert queued.params == PARAMS
    assert queued.user_attrs == {"retry_of": 2, "worker_deaths": 1}
    assert queued.system_attrs == {"grid_id": 4}
    assert there.ask().number == 3
    trial = there.ask()
    assert (trial.number, trial.suggest_float("learning_rate", 1e-4, 3, log=True)) == (4, 0.1 + 0.2)


def test_what_names_trials_by_their_ids_names_the_same_trials_in_the_copy(source, workdir):
    storage = open_storage(source, mode="worker")
    optuna.create_study(storage=storage, study_name="earlier").ask()  # shifts the ids
    study = make(source)
    ids = [trial._trial_id for trial in study.trials]
    note = f"dashboard:{ids[1]}:note_ver"
    for key, value in (("NSGAIISampler:parent:1", ids[:2]), (note, 1)):
        storage.set_study_system_attr(study._study_id, key, value)
    target = f"journal:///{workdir}/there.log"
    assert copied(source, target, "--study-name", "mine") == 0
    (found,) = open_storage(target, mode="reader").get_all_studies()
    assert ids[0] != 0
    assert found.system_attrs["NSGAIISampler:parent:1"] == [0, 1]
    assert found.system_attrs["dashboard:1:note_ver"] == 1
    assert note not in found.system_attrs


def test_a_study_of_that_name_is_not_overwritten_nor_one_copied_to_itself(source, workdir, capsys):
    make(source)
    assert copied(source, source) == 2
    assert "already has a study 'mine' of 5 trials" in capsys.readouterr().err
    other = f"sqlite:///{workdir}/other.db"
    assert copied(source, other) == 0
    before = everything(other)
    assert copied(source, other) == 2
    assert everything(other) == before


def test_somebody_elses_study_of_that_name_is_left_alone(source, workdir, capsys):
    make(source)
    other = f"sqlite:///{workdir}/other.db"
    study = optuna.create_study(
        storage=open_storage(other, mode="worker"), study_name="mine", directions=list(DIRECTIONS)
    )
    study.ask()
    assert copied(source, other) == 2
    assert "is no unfinished copy of this one" in capsys.readouterr().err
    assert len(study.trials) == 1


def test_an_unfinished_copy_is_completed(source, workdir, capsys, monkeypatch):
    make(source)
    target = f"sqlite:///{workdir}/target.db"

    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(copying, "_finish", die)
        assert copied(source, target) == 130
    assert main(["ls", "--storage", target, "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"  # nobody takes it for a study
    assert main(["front", "--storage", target, "--study-name", "mine"]) == 2
    assert "is a copy that was cut off" in capsys.readouterr().err
    assert copied(source, target) == 0
    assert "5 of 5 trials were copied before: going on" in capsys.readouterr().err
    assert copied(source, f"sqlite:///{workdir}/whole.db") == 0
    assert everything(target) == everything(f"sqlite:///{workdir}/whole.db")


def test_a_copy_killed_in_the_middle_is_completed_by_the_same_command(source, workdir):
    study = make(source)
    study.add_trials(
        [
            optuna.create_trial(values=[0.1, 1, n], params=PARAMS, distributions=SPACE)
            for n in range(300)
        ]
    )
    target = f"journal:///{workdir}/target.log"
    environment = {"BATCHFRONT_FROM": source, "BATCHFRONT_TO": target}
    process = spawn("copy", cwd=workdir, **environment)
    log = workdir / "target.log"
    while not log.exists() or log.read_bytes().count(b"\n") < 50:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    n_copied = log.read_bytes().count(b'{"op_code":4')
    assert 0 < n_copied < 305
    code, _, said = finish(spawn("copy", cwd=workdir, **environment))
    assert code == 0, said
    assert "of 305 trials were copied before: going on" in said
    assert copied(source, f"journal:///{workdir}/whole.log") == 0
    assert everything(target) == everything(f"journal:///{workdir}/whole.log")


def test_another_writer_is_noticed_before_the_copy_counts_as_a_study(
    source, workdir, capsys, monkeypatch
):
    make(source)
    target = f"sqlite:///{workdir}/target.db"
    finish_ = copying._finish

    def meddle(study: optuna.Study, *args: Any) -> None:
        study.ask()
        finish_(study, *args)

    monkeypatch.setattr(copying, "_finish", meddle)
    assert copied(source, target) == 2
    assert "is not equal to its source" in capsys.readouterr().err
    (found,) = open_storage(target, mode="reader").get_all_studies()
    assert RECORD not in found.user_attrs


def test_a_search_goes_on_in_the_copy(workdir, rows, capsys):
    source, target = f"sqlite:///{workdir}/source.db", f"journal:///{workdir}/there.log"
    run = ("run", "--task", "planted.py", "--epochs", "2", "--batch-sizes", "16:64")
    assert main([*run, "--n-trials", "3", "--storage", source]) == 0
    before = rows("export", "--storage", source)
    assert copied(source, target) == 0
    assert rows("export", "--storage", target) == before
    assert main(["run", "--task", "planted.py", "--n-trials", "5", "--storage", target]) == 0
    after = rows("export", "--storage", target)
    assert after[:3] == before
    assert len(after) == 5
    assert rows("export", "--storage", source) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "no storage given: set --from URL, or $BATCHFRONT_FROM"),
        (("--from", "sqlite:///none.db"), "no storage given: set --to URL, or $BATCHFRONT_TO"),
        (("--from", "sqlite:///none.db", "--to", "sqlite:///t.db"), "there is no database"),
        (("--from", "nonsense", "--to", "sqlite:///t.db"), "is not a URL"),
    ],
)
def test_what_is_missing_is_told_and_nothing_is_made(workdir, capsys, monkeypatch, options, said):
    for variable in ("BATCHFRONT_FROM", "BATCHFRONT_TO"):
        monkeypatch.delenv(variable, raising=False)
    assert main(["copy", *options]) == 2
    assert said in capsys.readouterr().err
    assert [file.name for file in workdir.iterdir()] == ["planted.py"]


def test_a_target_that_cannot_be_used_is_told_in_one_line(source, capsys):
    make(source)
    assert copied(source, "postgresql://me:hunter2@127.0.0.1:1/db") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: storage postgresql://me:***@127.0.0.1:1/db: ")
    assert said.count("\n") == 1


@pytest.mark.mysql
def test_a_password_is_neither_shown_nor_an_argument_nor_stored(workdir, source):
    """Of copying and of searching with two workers, which get the URL handed on."""
    secret = "hunter2secret"
    with servers.database("mysql") as empty:
        name = make_url(empty).database
        user = f"u_{name}"[:30]
        with servers.administration("mysql") as connection:
            connection.exec_driver_sql(f"CREATE USER {user}@'%%' IDENTIFIED BY '{secret}'")
            connection.exec_driver_sql(f"GRANT ALL ON {name}.* TO {user}@'%%'")
        try:
            url = make_url(empty).set(username=user, password=secret)
            hidden = url.render_as_string(hide_password=False)
            make(source, "copied")
            processes = [
                spawn("copy", cwd=workdir, BATCHFRONT_FROM=source, BATCHFRONT_TO=hidden),
                spawn(
                    "run", "--task", "planted.py", "--epochs", "2", "--batch-sizes", "16:64",
                    "--n-trials", "4", "--n-workers", "2",
                    cwd=workdir, BATCHFRONT_STORAGE=hidden,
                ),
            ]  # fmt: skip
            arguments = b""
            while any(process.poll() is None for process in processes):
                arguments += b"".join(map(command_line, Path("/proc").glob("[0-9]*")))
                time.sleep(0.2)
            for process in processes:
                code, out, err = finish(process)
                assert code == 0, err
                assert secret not in out + err
            assert b"planted.py" in arguments
            assert secret.encode() not in arguments
            storage = open_storage(hidden, mode="reader")
            stored = [(s, storage.get_all_trials(s._study_id)) for s in storage.get_all_studies()]
            assert secret not in repr([vars(study) for study, _ in stored]) + repr(stored)
        finally:
            with servers.administration("mysql") as connection:
                connection.exec_driver_sql(f"DROP USER {user}@'%%'")


def command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
