"""SQLite made safe for several processes on one machine.

As Optuna opens it, SQLite loses trials to "database is locked" and lets several workers pop one
queued trial. Workers here use write-ahead logging, a long timeout and `BEGIN IMMEDIATE`; the schema
is created once, under a lock; network file systems, where SQLite's locks do not work, are refused.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from batchfront.storage.errors import StorageError
from batchfront.storage.locks import file_lock
from batchfront.storage.rdb import SharedRDBStorage, optuna_url, wrong_schema
from batchfront.storage.shared import CLAIM_PATIENCE_SECONDS
from batchfront.storage.sqlite_file import (
    TIMEOUT_SECONDS,
    address,
    check_file,
    check_readable,
    check_there,
    is_missing,
    refuse_network_file_system,
)
from batchfront.storage.watch import FileWatch

LOGS = ("-wal", "-shm")  # suffixes of what write-ahead logging keeps beside the file


def _marked_as_reading(cls: type[SqliteStorage]) -> type[SqliteStorage]:
    """A class decorator: what only reads says so to `_begin`."""

    def marked(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: SqliteStorage, *args: Any, **kwargs: Any) -> Any:
            before, self.reading.active = getattr(self.reading, "active", False), True
            try:
                return method(self, *args, **kwargs)
            finally:
                self.reading.active = before

        return call

    for name in dir(SharedRDBStorage):
        if name.startswith(("get_", "count_", "_get_trials", "_get_stale")):
            method = getattr(SharedRDBStorage, name)
            setattr(cls, name, marked(method))
    return cls


@_marked_as_reading
class SqliteStorage(SharedRDBStorage):
    """One file on this machine."""

    folder: Path  # of the file; itself what is locked: no lock file is left behind

    def __init__(self, url: str, **options: Any) -> None:
        self.reading = threading.local()
        super().__init__(url, **options)

    @contextmanager
    def claim_lock(
        self, study_name: str, patience_seconds: float = CLAIM_PATIENCE_SECONDS
    ) -> Iterator[bool]:
        """Exclusive for all studies of the folder: they share SQLite's one writer anyway."""
        with file_lock(self.folder, patience_seconds) as held:
            yield held


class WatchedConnection(sqlite3.Connection):
    """Refuses to go on when one of its files is no longer the one of that name."""

    watches: tuple[FileWatch, ...] = ()

    def check(self) -> None:
        """Raises StorageError for a file that was deleted or replaced."""
        for watch in self.watches:
            watch.check()

    def commit(self) -> None:
        """Commit; what went into a file that nobody will find is not acknowledged."""
        super().commit()
        self.check()


def open_worker(path: Path, *, creates: bool = True) -> SqliteStorage:
    """Open for writing; `creates` folder, file and schema when they are missing."""
    refuse_network_file_system(path)
    if creates:
        _make_folder(path.parent)
    else:
        check_there(path)
    _check_access(path)
    with file_lock(path.parent, CLAIM_PATIENCE_SECONDS):
        check_file(path)
        if creates and is_missing(path):
            _create(path)
        storage = _open(path, journal="WAL")  # two that change the mode at once fail
    from sqlalchemy import event

    event.listen(storage.engine, "begin", partial(_begin, storage))
    return storage


def open_reader(path: Path) -> SqliteStorage:
    """Open an existing database for looking; its transactions take no lock that blocks a worker."""
    check_readable(path)
    return _open(path, journal=None)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create the folder {folder}: {error.strerror}") from error


def _begin(storage: SqliteStorage, connection: Any) -> None:
    """Take the write lock at once, unless it is only to read.

    SQLite ignores SELECT ... FOR UPDATE, so two workers could both read a queued trial before
    either writes. Taking the lock at BEGIN makes each transaction that writes exclusive.
    """
    connection.connection.dbapi_connection.check()
    reads = getattr(storage.reading, "active", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
    if reads:
        return
    try:
        storage.check_fence(connection)  # of every write: ids of deleted rows are used again
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")  # SQLAlchemy does not know yet that it has begun
        raise


def _connector(path: Path, journal: str | None) -> Callable[[], sqlite3.Connection]:
    main = FileWatch(path)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address(path, creates=journal == "DELETE"),
            uri=True,
            timeout=TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=WatchedConnection,
        )
        if journal is not None:  # otherwise as it is
            connection.execute(f"PRAGMA journal_mode={journal}")
        connection.execute("PRAGMA synchronous=NORMAL")
        if journal == "WAL":
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the log
            # The logs are new ones when nobody had the file open before.
            connection.watches = (main, *(_log_watch(path, suffix) for suffix in LOGS))
            connection.check()
        return connection

    return connect


def _log_watch(path: Path, suffix: str) -> FileWatch:
    # SQLite folds the log that it has open into the file when the last process closes it.
    remedy = "end all processes that use the database, without kill -9, and run it again"
    return FileWatch(path.with_name(path.name + suffix), remedy=remedy)


def _open(path: Path, *, journal: str | None) -> SqliteStorage:
    engine = {"creator": _connector(path, journal)}
    try:
        storage = SqliteStorage(optuna_url(f"sqlite:///{path}"), engine_kwargs=engine)
    except RuntimeError as error:
        raise wrong_schema(str(path), error) from error
    storage.folder = path.parent
    return storage


def _create(path: Path) -> None:
    """Write the schema aside, then rename: nobody sees half a schema, and no kill leaves one."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    for suffix in LOGS:  # the log of a lost file would be replayed into the new one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    try:
        # Without a write-ahead log: one that a full disk left unmerged would be lost in renaming.
        storage = _open(aside, journal="DELETE")
        storage.remove_session()
        storage.engine.dispose()
        os.replace(aside, path)
    finally:
        for suffix in ("", "-journal", *LOGS):
            aside.with_name(aside.name + suffix).unlink(missing_ok=True)


def _check_access(path: Path) -> None:
    for target in (path.parent, path):  # SQLite writes its log beside the file
        wanted = os.W_OK | os.R_OK | (os.X_OK if target.is_dir() else 0)
        if target.exists() and not os.access(target, wanted):
            raise StorageError(
                f"{target} is not writable: change its permissions or choose another --storage"
            )
