"""A file that is deleted or replaced under a worker: it ends, and had told nobody that it wrote."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from batchfront.storage.errors import StorageError
from batchfront.storage.open import open_storage
from tests.storage.conftest import FORK, close, make_study

FILES = ["study.db", "study.db-wal", "study.db-shm", "study.log"]


@pytest.fixture(params=FILES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"study.{'log' if request.param.endswith('log') else 'db'}"


@pytest.fixture
def victim(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.node.callspec.params["path"])


def delete(victim: Path) -> None:
    victim.unlink()


def replace(victim: Path) -> None:
    """By an equal file: there is no telling by its content."""
    shutil.copy(victim, victim.with_name("copy"))
    victim.with_name("copy").replace(victim)


def delete_folder(victim: Path) -> None:
    victim.parent.rename(victim.parent.with_name(f"{victim.parent.name}-gone"))


@pytest.mark.parametrize("damage", [delete, replace, delete_folder])
def test_every_later_call_is_refused_in_one_line(url, victim, damage):
    storage = open_storage(url, mode="worker")
    study = optuna.create_study(storage=storage, study_name="mine")
    trial = study.ask()
    damage(victim)
    calls: list[Callable[[], Any]] = [
        lambda: trial.set_user_attr("a", 1),
        lambda: storage.set_trial_attrs(trial._trial_id, {"b": 1}),
        lambda: study.tell(trial, 1.0),
        study.ask,
        lambda: study.get_trials(deepcopy=False),  # of a worker that waits for others
    ]
    for call in calls:
        with pytest.raises(StorageError, match=r"was (deleted|replaced) while .* nothing more"):
            call()
    caught: list[BaseException] = []

    def elsewhere() -> None:
        """In a thread, which has a connection of its own."""
        try:
            optuna.load_study(storage=storage, study_name="mine").ask()
        except StorageError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert "\n" not in str(caught[0])


@pytest.mark.parametrize("path", ["study.db", "study.log"], indirect=True)
def test_nothing_goes_into_another_study_of_the_same_place(url, path):
    """Ids and names are the same in both: the file is all that tells them apart."""
    storage = open_storage(url, mode="worker")
    trial = optuna.create_study(storage=storage, study_name="mine").ask()
    for file in path.parent.iterdir():
        file.unlink()
    if path.suffix == ".db":
        make_study(url)
    else:
        optuna.create_study(storage=open_storage(url, mode="worker"), study_name="mine").ask()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="was replaced"):
        trial.set_user_attr("a", 1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("path", ["study.db", "study.db-wal"], indirect=True)
def test_what_is_lost_while_it_is_written_is_not_acknowledged(url, victim):
    storage = open_storage(url, mode="worker")
    trial = optuna.create_study(storage=storage, study_name="mine").ask()

    def late(connection: Any) -> None:
        victim.unlink()

    sqlalchemy.event.listen(storage.engine, "commit", late)  # called before it commits
    with pytest.raises(StorageError, match="was deleted"):
        trial.set_user_attr("a", 1)


@pytest.mark.parametrize("path", ["study.log"], indirect=True)
def test_a_journal_that_is_lost_while_its_lock_is_waited_for_is_not_made_again(
    url, path, monkeypatch
):
    storage = open_storage(url, mode="worker")
    trial = optuna.create_study(storage=storage, study_name="mine").ask()
    monkeypatch.setattr("batchfront.storage.journal.cut_torn_line", lambda path: path.unlink())
    with pytest.raises(StorageError):
        trial.set_user_attr("a", 1)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("path", ["study.db-wal"], indirect=True)
def test_what_was_acknowledged_before_the_log_was_deleted_is_there_when_all_have_ended(
    url, path, victim
):
    make_study(url)
    wrote, lost = [FORK.Event() for _ in range(2)], FORK.Event()

    def work(number: int) -> None:
        storage = open_storage(url, mode="worker")
        trial = optuna.load_study(storage=storage, study_name="mine").ask()
        trial.set_user_attr("kept", number)
        wrote[number].set()
        lost.wait(60)
        with pytest.raises(StorageError, match="without kill -9"):
            trial.set_user_attr("more", number)
        close(storage)

    workers = [FORK.Process(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    assert all(event.wait(60) for event in wrote)
    os.unlink(victim)
    lost.set()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    trials = optuna.load_study(storage=open_storage(url, mode="reader"), study_name="mine").trials
    assert {t.user_attrs.get("kept") for t in trials} == {None, 0, 1}


@pytest.mark.parametrize("path", ["study.db"], indirect=True)
def test_logs_that_sqlite_itself_removes_are_no_loss(url, path):
    storage = open_storage(url, mode="worker")
    study = optuna.create_study(storage=storage, study_name="mine")
    close(storage)
    assert [file.name for file in path.parent.iterdir()] == ["study.db"]
    study.ask()
    assert len(study.trials) == 1


def test_a_journal_that_is_deleted_just_before_it_is_written_is_told_as_deleted(
    tmp_path, monkeypatch
):
    journal = tmp_path / "study.log"
    storage = open_storage(f"journal:///{journal}", mode="worker")
    study = optuna.create_study(storage=storage, study_name="mine")
    lock = storage._backend.exclusive
    acquire = lock.acquire

    def too_late() -> Any:
        journal.unlink()  # after the look at it
        return acquire()

    monkeypatch.setattr(lock, "acquire", too_late)
    with pytest.raises(StorageError, match=r"was deleted while .* nothing more"):
        study.ask()
