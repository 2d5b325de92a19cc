"""Several processes at one database: workers take turns, readers are in nobody's way."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from batchfront.storage import sqlite
from batchfront.storage.locks import file_lock
from batchfront.storage.open import open_storage
from tests.storage.conftest import FORK, copy_study, kill, names
from tests.storage.processes import add_one_often, open_and_create


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would wait for a lock fails soon."""
    monkeypatch.setattr(sqlite, "TIMEOUT_SECONDS", 0.3)


@pytest.fixture
def writing(url: str, path: Path) -> Iterator[sqlite3.Connection]:
    """A study, and a connection that holds the write lock."""
    copy_study(url)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def pragma(storage: Any, name: str) -> Any:
    with storage.engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.mark.parametrize("mode", ["worker", "reader"])
def test_a_log_is_written_ahead(url, mode):
    copy_study(url)
    storage = open_storage(url, mode=mode)
    assert pragma(storage, "journal_mode") == "wal"
    assert pragma(storage, "synchronous") == 1  # NORMAL
    assert pragma(storage, "busy_timeout") == 60_000


def test_a_file_that_stock_optuna_made_is_hardened_too(url, path):
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(storage=storage, study_name="stock")
    storage.engine.dispose()
    assert pragma(open_storage(url, mode="worker"), "journal_mode") == "wal"
    assert names(url) == ["stock"]


def test_a_reader_leaves_a_file_that_stock_optuna_made_as_it_is(url):
    optuna.storages.RDBStorage(url).engine.dispose()
    assert pragma(open_storage(url, mode="reader"), "journal_mode") == "delete"


@pytest.mark.parametrize("there", [False, True], ids=["fresh", "stock"])
def test_workers_open_a_file_one_after_the_other(url, path, monkeypatch, there):
    """SQLite fails at once, whatever the timeout, when two connections change to a log together."""
    if there:
        optuna.storages.RDBStorage(url).engine.dispose()
    locked, connector = [], sqlite._connector

    def watched(*args: Any) -> Any:
        connect = connector(*args)
        return lambda: (locked.append(is_locked(path.parent)), connect())[1]

    monkeypatch.setattr(sqlite, "_connector", watched)
    open_storage(url, mode="worker")
    assert locked
    assert all(locked)


def test_a_worker_in_a_transaction_shuts_out_other_workers(url, impatient):
    first, second = (open_storage(url, mode="worker") for _ in range(2))
    with first.engine.begin(), pytest.raises(OperationalError, match="locked"):
        second.engine.connect().begin()


def test_a_worker_waits_for_its_turn(url):
    first, second = (open_storage(url, mode="worker") for _ in range(2))
    waiter = threading.Thread(
        target=lambda: optuna.create_study(storage=second, study_name="later")
    )
    with first.engine.begin():
        waiter.start()
        waiter.join(0.3)
        assert waiter.is_alive()
    waiter.join(30)
    assert names(url) == ["later"]


@pytest.mark.parametrize("attempt", range(2))
def test_six_processes_open_a_fresh_file_together(url, team, attempt):
    assert team.together(6, open_and_create, url) == ["ours"] * 6


def test_a_reader_opens_and_reads_while_a_worker_writes(writing, url, impatient):
    assert names(url) == ["mine"]


def test_a_worker_writes_while_a_reader_looks(url, impatient):
    copy_study(url)
    reader = open_storage(url, mode="reader")
    worker = open_storage(url, mode="worker")
    count = "SELECT count(*) FROM trials"
    with reader.engine.connect() as looking:
        looking.exec_driver_sql("BEGIN")
        assert looking.exec_driver_sql(count).scalar() == 1
        optuna.load_study(study_name="mine", storage=worker).ask()
        assert looking.exec_driver_sql(count).scalar() == 1  # what it began to look at
        looking.exec_driver_sql("COMMIT")
        assert looking.exec_driver_sql(count).scalar() == 2


def test_a_database_cannot_be_written_past_a_lock(writing, url, impatient):
    worker = open_storage(url, mode="worker")
    with pytest.raises(optuna.exceptions.StorageInternalError):
        optuna.create_study(storage=worker, study_name="late")


def is_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_a_folder_lock_is_freed_at_the_end_and_by_an_error(tmp_path):
    with file_lock(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with pytest.raises(KeyError), file_lock(tmp_path):
        raise KeyError
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_lock_keeps_processes_out_of_each_others_way(tmp_path, team):
    file = tmp_path / "count"
    file.write_text("0")
    assert team.together(3, add_one_often, file, 200) == ["added"] * 3
    assert file.read_text() == "600"


def test_a_folder_lock_is_freed_when_its_holder_is_killed(tmp_path):
    held = FORK.Event()

    def hold() -> None:
        with file_lock(tmp_path):
            held.set()
            time.sleep(600)

    holder = FORK.Process(target=hold)
    holder.start()
    assert held.wait(60)
    assert is_locked(tmp_path)
    kill(holder)
    assert not is_locked(tmp_path)


def test_the_claim_lock_is_that_of_the_databases_folder(url, tmp_path):
    with open_storage(url, mode="worker").claim_lock("mine") as held:
        assert held
        assert is_locked(tmp_path)


@pytest.mark.slow
def test_two_names_of_one_database_share_their_claim_lock(url, path, tmp_path):
    copy_study(url)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.db").symlink_to(path)
    linked = open_storage(f"sqlite:///{tmp_path}/elsewhere/link.db", mode="worker")
    with linked.claim_lock("mine"):
        assert is_locked(tmp_path)
