"""`batchfront copy`: a study moves to another storage, and goes on there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from tests import servers
from tests.study.conftest import finish, spawn

from ..copies import PARAMS, copied, everything, make

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden-0.5.0.db"


@pytest.fixture
def tour(workdir: Path) -> Iterator[list[str]]:
    """Storages of all kinds, one after the other."""
    with servers.database("postgresql") as postgresql, servers.database("mysql") as mysql:
        files = [f"journal:///{workdir}/there.log", f"sqlite:///{workdir}/back.db"]
        yield [postgresql, mysql, *files]


@pytest.mark.slow
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
    warning, said = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: every user of this machine can see the password")
    assert said.startswith("error: storage postgresql://me:***@127.0.0.1:1/db: ")


@pytest.mark.slow
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
