"""`open_storage(url)`: one door to every backend, for workers and for readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal

from storage import sqlite
from storage.errors import StorageError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import URL

Mode = Literal["worker", "reader"]


def open_storage(url: str, *, mode: Mode) -> RDBStorage:
    """Open a storage for a worker (creates what is missing) or a reader (never blocks a worker).

    Raises:
        StorageError: unknown kind of URL; a file that is missing (readers), corrupt, read-only,
            something else's, or on a network file system.
    """
    path = sqlite.path_of(_parsed(url))
    return sqlite.open_worker(path) if mode == "worker" else sqlite.open_reader(path)


def exists(url: str) -> bool:
    """Whether there is a database to read.

    Raises:
        StorageError: unknown kind of URL.
    """
    return sqlite.path_of(_parsed(url)).exists()


def claim_lock(url: str) -> AbstractContextManager[None]:
    """Held by one worker at a time while it counts the trials and claims the next one."""
    path = sqlite.path_of(_parsed(url))
    return sqlite.folder_lock(path.parent)


@contextmanager
def readable_errors(url: str) -> Iterator[None]:
    """Turn a database's own errors into one line that names the storage and the cause."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        remedy = _remedy(said)
        raise StorageError(f"storage {redacted(url)}: {said}{remedy}") from error


def _remedy(said: str) -> str:
    known = {
        "disk is full": ": free some space and run it again, nothing recorded is lost",
        "disk I/O error": ": is the disk full or gone? what was recorded before is still there",
        "readonly": ": make the file and its folder writable, or choose another --storage",
        "malformed": ": the file is damaged: restore a copy, or choose another --storage",
        "not a database": ": choose another --storage",
        "unable to open": ": is its folder there and writable?",
    }
    return next((remedy for words, remedy in known.items() if words in said), "")


def redacted(url: str) -> str:
    """The URL without its password, wherever that stands, for messages and headers."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or "@" in (parsed.host or ""):  # a host with half a password before it
        return url.split("://")[0] + "://…" if "://" in url else "(not a URL)"
    words = ("pass", "pwd", "secret", "token")
    secret = {key: "***" for key in parsed.query if any(word in key.lower() for word in words)}
    return parsed.update_query_dict(secret).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StorageError(
            f"storage {redacted(url)!r} is not a URL: wanted sqlite:///path/to/file.db"
        ) from None
    if parsed.drivername != "sqlite":
        raise StorageError(
            f"storage {redacted(url)!r} is of an unknown kind {parsed.drivername!r}: "
            "wanted sqlite:///path/to/file.db"
        )
    return parsed
