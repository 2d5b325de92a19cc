"""`open_storage(url)`: one door to every backend, for workers and for readers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

from batchfront.storage.errors import StorageError
from batchfront.storage.files import nearest
from batchfront.storage.names import (
    address_of,
    file_of,
    journal_file_of,
    parse,
    redacted,
    sqlite_file_of,
    without_secrets,
)
from batchfront.storage.patience import again_while_away

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from batchfront.storage.glance import Study
    from batchfront.storage.shared import SharedStorage

T = TypeVar("T")
Mode = Literal["worker", "late worker", "reader"]


def open_storage(url: str, *, mode: Mode) -> SharedStorage:
    """Open a storage for a worker, a late worker or a reader.

    A worker creates what is missing; a late one, whose storage was there before, creates no file in
    its place. A reader writes nothing and never blocks a worker.

    Raises:
        StorageError: unknown kind of URL; a file that is missing (late workers, readers), corrupt,
            read-only, something else's, or an SQLite file on a network file system; a server that
            does not answer, or that has no studies yet (late workers, readers).
    """
    parsed, kind = parse(url)
    with readable_errors(url):
        return _open(parsed, kind, mode)


def _open(parsed: URL, kind: str, mode: Mode) -> SharedStorage:
    worker, creates = mode != "reader", mode == "worker"
    if kind == "sqlite":
        from batchfront.storage import sqlite

        path = sqlite_file_of(parsed)
        return sqlite.open_worker(path, creates=creates) if worker else sqlite.open_reader(path)
    if kind == "journal":
        from batchfront.storage import journal

        path = journal_file_of(parsed)
        return journal.open_worker(path) if creates else journal.open_reader(path)
    if kind == "grpc":
        from batchfront.storage import proxy

        return proxy.connect(*address_of(parsed))
    from batchfront.storage import server

    return server.open_worker(parsed) if creates else server.open_reader(parsed)


@contextmanager
def at_a_glance(url: str) -> Iterator[list[Study] | None]:
    """The studies of an SQLite file, read without Optuna; None where Optuna has to read them.

    Raises:
        StorageError: what `open_storage` raises to a reader of such a file.
        sqlite3.Error: it cannot be read any more.
    """
    parsed, kind = parse(url)
    if kind != "sqlite":
        yield None
        return
    from batchfront.storage.glance import studies_in

    with studies_in(sqlite_file_of(parsed)) as studies:
        yield studies


def waiting_for_server(url: str, call: Callable[[], T]) -> T:
    """What `call` returns, made again while the server of a storage that was there is away."""
    found: T = again_while_away(call, _away_test(url))
    return found


def _away_test(url: str) -> Callable[[BaseException], bool]:
    """What tells that the server of a storage is away; files never are."""
    kind = parse(url)[1]
    if kind == "server":
        from batchfront.storage.server import is_away
    elif kind == "grpc":
        from batchfront.storage.proxy import is_away
    else:
        return lambda error: False
    return is_away


def exists(url: str) -> bool:
    """Whether there are studies to read.

    Raises:
        StorageError: unknown kind of URL.
    """
    parsed, kind = parse(url)
    if kind == "grpc":
        return True  # there is a server, or opening it will say so
    if kind == "server":
        from batchfront.storage import server

        with readable_errors(url):
            return server.exists(parsed)
    path = file_of(parsed, kind)
    is_empty = kind == "sqlite" and path.is_file() and not path.stat().st_size  # it has no tables
    return path.exists() and not is_empty


def check_place(url: str) -> None:
    """Raise StorageError for files that a worker could not make there; nothing is made.

    Raises:
        StorageError: also an unknown kind of URL.
    """
    parsed, kind = parse(url)
    if kind in ("grpc", "server"):
        return
    path = file_of(parsed, kind)
    if kind == "sqlite":
        from batchfront.storage.sqlite_file import refuse_network_file_system

        refuse_network_file_system(path)
    there = nearest(path.parent)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(
            f"there can be no {path}: {there} is no folder that can be written to: change its "
            "permissions or choose another --storage"
        )


def disk_bytes(url: str) -> int | None:
    """How much the files of all its studies take; None for a server's.

    Raises:
        StorageError: unknown kind of URL.
    """
    parsed, kind = parse(url)
    if kind in ("grpc", "server"):
        return None
    path = file_of(parsed, kind)
    files = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]
    return sum(file.stat().st_size for file in files if file.exists())


@contextmanager
def readable_errors(url: str) -> Iterator[None]:
    """Turn a database's own errors into one line that names the storage and the cause."""
    try:
        yield
    except _own_errors() as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = without_secrets(url, _words(cause))
        raise StorageError(f"storage {redacted(url)}: {said}{_remedy(said)}") from error


def _own_errors() -> tuple[type[BaseException], ...]:
    import sqlite3

    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    grpc = sys.modules.get("grpc")  # not imported: none of its errors can come
    databases = (SQLAlchemyError, StorageInternalError, sqlite3.Error)
    return (*databases, grpc.RpcError) if grpc else databases


def _words(cause: BaseException) -> str:
    details = getattr(cause, "details", None)  # of a gRPC error
    text = details() if callable(details) else str(cause)
    return str(text).splitlines()[0] if text else type(cause).__name__


def _remedy(said: str) -> str:
    known = {
        "disk is full": ": free some space and run it again, nothing recorded is lost",
        "disk I/O error": ": is the disk full or gone? what was recorded before is still there",
        "readonly": ": make the file and its folder writable, or choose another --storage",
        "malformed": ": the file is damaged: restore a copy, or choose another --storage",
        "not a database": ": choose another --storage",
        "unable to open": ": is its folder there and writable?",
        "onnection refused": ": is the server running, and reachable from here?",
        "failed to resolve": ": is the host's name right?",
        "Can't connect": ": is the server running, and reachable from here?",
        "authentication failed": ": check user and password, in the URL or ~/.pgpass",
        "Access denied": ": check user and password in the URL",
        "does not exist": ": create it on the server first",
        "Unknown database": ": create it on the server first",
    }
    return next((remedy for words, remedy in known.items() if words in said), "")
