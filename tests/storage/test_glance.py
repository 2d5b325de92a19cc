"""What is read at a glance is what Optuna reads, and what no reader may open is not looked at."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from batchfront.storage import glance, sqlite_file
from batchfront.storage.errors import StorageError
from batchfront.storage.open import at_a_glance, open_storage, readable_errors
from tests.storage.conftest import FORK, copy_study
from tests.storage.test_contract import ATTRIBUTES
from tests.storage.test_sqlite_files import (
    damaged,
    damaged_trials,
    folder,
    something_else,
    text,
    torn,
)
from tests.storage.test_tables import DATA, DIRECTIONS, _fill


def as_text(trial: FrozenTrial | glance.Trial) -> str:
    """All that is read of a trial; as text, since NaN equals nothing."""
    drawn = {
        name: (getattr(one, "kind", type(one).__name__), *of_kind(one))
        for name, one in trial.distributions.items()
    }
    plain = [trial._trial_id, trial.number, trial.state.name, trial.state.is_finished()]
    named = [trial.params, drawn, trial.user_attrs, trial.system_attrs]
    constraints = sorted(map(str, trial.constraints.values()))
    return repr([*plain, trial.values, constraints, *(sorted(one.items()) for one in named)])


def of_kind(distribution: Any) -> tuple[bool, tuple[Any, ...]]:
    return getattr(distribution, "log", False), tuple(getattr(distribution, "choices", ()))


def check_same(url: str) -> None:
    """Compare all studies of a file with what Optuna reads of them."""
    storage = open_storage(url, mode="reader")
    with at_a_glance(url) as studies:
        assert studies is not None
        assert [study.study_name for study in studies] == optuna.get_all_study_names(storage)
        for study in studies:
            wanted = optuna.load_study(study_name=study.study_name, storage=storage)
            assert study.directions == [direction.name for direction in wanted.directions]
            assert study.user_attrs == wanted.user_attrs
            assert study.system_attrs == storage.get_study_system_attrs(wanted._study_id)
            found = study.get_trials(deepcopy=False)
            assert sorted(map(as_text, found)) == sorted(map(as_text, wanted.trials))


def test_every_study_and_trial_is_what_optuna_reads(url, path, monkeypatch):
    monkeypatch.setattr(glance, "AT_A_TIME", 3)
    storage = open_storage(url, mode="worker")
    one, other = (optuna.create_study(storage=storage, directions=DIRECTIONS) for _ in range(2))
    optuna.create_study(storage=storage, study_name="empty")
    for study in (one, other, one):  # ids of a study need not be neighbours
        _fill(study)
    for study in (one, other):
        study.set_user_attr('größe, "quoted" [1, 2]', ATTRIBUTES)
        storage.set_study_system_attr(study._study_id, "begun", [study.study_name])
    lists = {"constraints": [0.5, -1], "constraints:new": 2.0}  # as Optuna stored them once
    one.add_trial(optuna.create_trial(state=optuna.trial.TrialState.FAIL, system_attrs=lists))
    other.ask().set_user_attr('a, "b"', 'c, ], "d"')
    check_same(url)
    with closing(sqlite3.connect(path)) as connection, connection:  # written in any order
        connection.execute("UPDATE trial_values SET objective = objective + 10")
        connection.execute("UPDATE trial_values SET objective = 12 - objective")
    check_same(url)


@pytest.mark.parametrize("golden", sorted(DATA.glob("golden-*.db")), ids=lambda path: path.stem)
def test_studies_of_older_versions_are_read_as_optuna_reads_them(golden, tmp_path):
    check_same(f"sqlite:///{shutil.copy(golden, tmp_path)}")


def test_what_is_settled_for_many_trials_is_left_out(url):
    study = optuna.create_study(storage=open_storage(url, mode="worker"), study_name="mine")
    for n in range(4):
        trial = study.ask()
        for name in ("a", "b", "c")[: 1 + n % 3]:
            trial.set_user_attr(name, n)
    asked = []

    def settled(name: str, values: Any) -> bool:
        asked.append((name, sorted(values)))
        return bool(name != "b" and 3 not in values)

    with at_a_glance(url) as studies:
        (found,) = studies or []
        trials = found.without(settled).get_trials(deepcopy=False)
        assert [trial.user_attrs for trial in found.get_trials(deepcopy=False)][1] == {
            "a": 1,
            "b": 1,
        }
    assert [trial.user_attrs for trial in trials] == [{"a": 0}, {"b": 1}, {"b": 2}, {"a": 3}]
    assert ("a", [0, 3]) in asked  # at once for those that have the same attributes


def told(act: Callable[[], Any], url: str) -> str:
    with pytest.raises(StorageError) as caught, readable_errors(url):
        act()
    return str(caught.value)


def look(url: str) -> None:
    with at_a_glance(url) as studies:
        assert studies is not None
        for study in studies:
            study.get_trials(deepcopy=False)


def nothing(path: Path) -> None:
    """Leaves no file."""


def empty(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize(
    "make", [nothing, empty, text, damaged, damaged_trials, torn, something_else, folder]
)
def test_what_no_reader_may_open_is_refused_in_the_same_words(url, path, make):
    make(path)
    before = path.read_bytes() if path.is_file() else None
    wanted = told(lambda: open_storage(url, mode="reader"), url)
    assert told(lambda: look(url), url) == wanted
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_network_file_system_is_refused_in_the_same_words(url, monkeypatch):
    copy_study(url)
    monkeypatch.setattr(sqlite_file, "file_system", lambda path: "nfs4")
    wanted = told(lambda: open_storage(url, mode="reader"), url)
    assert told(lambda: look(url), url) == wanted
    assert "is on a network file system (nfs4)" in wanted


def test_pages_that_are_damaged_are_told_as_the_other_reader_tells_them(url, path):
    study = optuna.create_study(storage=open_storage(url, mode="worker"), study_name="mine")
    for _ in range(3):
        study.ask().set_user_attr("a", "x" * 10000)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'trial_user_attributes'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]
    whole = bytearray(path.read_bytes())
    whole[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(whole)

    def read() -> None:
        storage = open_storage(url, mode="reader")
        _ = optuna.load_study(study_name="mine", storage=storage).trials

    wanted = told(read, url)
    assert told(lambda: look(url), url) == wanted
    assert "malformed: the file is damaged: restore a copy" in wanted


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE alembic_version SET version_num = 'v3.0.0.d'",
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
    ],
)
def test_tables_of_another_optuna_are_left_to_optuna(url, path, change):
    copy_study(url)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
    with at_a_glance(url) as studies:
        assert studies is None


def test_other_storages_are_left_to_optuna(tmp_path):
    with at_a_glance(f"journal:///{tmp_path}/study.log") as studies:
        assert studies is None


def test_a_glance_leaves_nothing_and_sees_what_lies_in_the_log_alone(url, path):
    def leave_a_log() -> None:
        study = optuna.create_study(storage=open_storage(url, mode="worker"), study_name="mine")
        study.ask()
        os._exit(0)  # without folding the log into the file

    writer = FORK.Process(target=leave_a_log)
    writer.start()
    writer.join(60)
    assert path.with_name("study.db-wal").stat().st_size > 0
    with at_a_glance(url) as studies:
        (study,) = studies or []
        assert [trial.state.name for trial in study.get_trials(deepcopy=False)] == ["RUNNING"]
    assert [file.name for file in path.parent.iterdir()] == ["study.db"]


def test_a_glance_writes_nothing(url):
    copy_study(url)
    with at_a_glance(url) as studies:
        assert studies is not None
        connection = studies[0].read.args[0]  # type: ignore[attr-defined]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM studies")
