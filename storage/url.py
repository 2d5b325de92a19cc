"""`open_storage(url)`: one door to every backend, for workers and for readers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from storage.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from storage.shared import Heartbeat, SharedStorage

Mode = Literal["worker", "reader"]
DEFAULT_PORT = 13000  # of a gRPC proxy; Optuna's own
DRIVERS = {  # short names people write: the driver that is installed with this project
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
}
WANTED = (
    "sqlite:///path/to/file.db, postgresql+psycopg://user@host/database, "
    "mysql+pymysql://user@host/database, journal:///path/to/file.log or grpc://host:port"
)


def open_storage(url: str, *, mode: Mode, heartbeat: Heartbeat | None = None) -> SharedStorage:
    """Open a storage for a worker (creates what is missing) or a reader (never blocks a worker).

    `heartbeat` is for workers that run trials.

    Raises:
        StorageError: unknown kind of URL; a file that is missing (readers), corrupt, read-only,
            something else's, or an SQLite file on a network file system; a server that does not
            answer, or that has no studies yet (readers).
    """
    parsed, kind = _parsed(url)
    worker = mode == "worker"
    if kind == "sqlite":
        from storage import sqlite

        path = sqlite.path_of(parsed)
        return sqlite.open_worker(path, heartbeat) if worker else sqlite.open_reader(path)
    if kind == "journal":
        from storage import journal

        path = _file_of(parsed)
        return journal.open_worker(path) if worker else journal.open_reader(path)
    if kind == "grpc":
        from storage import proxy

        return proxy.connect(*_address_of(parsed))
    from storage import server

    return server.open_worker(parsed, heartbeat) if worker else server.open_reader(parsed)


def exists(url: str) -> bool:
    """Whether there are studies to read.

    Raises:
        StorageError: unknown kind of URL.
    """
    parsed, kind = _parsed(url)
    if kind == "grpc":
        return True  # there is a server, or opening it will say so
    if kind == "server":
        from storage import server

        return server.exists(parsed)
    return _path(parsed, kind).exists()


def folder_of(url: str) -> Path | None:
    """The folder a storage lies in; None for a server's.

    Raises:
        StorageError: unknown kind of URL.
    """
    parsed, kind = _parsed(url)
    return None if kind in ("grpc", "server") else _path(parsed, kind).parent


def anchored(url: str) -> str:
    """The same storage, named so that it is found from any folder of this machine.

    Raises:
        StorageError: unknown kind of URL.
    """
    parsed, kind = _parsed(url)
    return url if kind in ("grpc", "server") else f"{kind}:///{_path(parsed, kind)}"


def is_of_one_machine(url: str) -> bool:
    """Whether only processes of one machine can share it."""
    return _parsed(url)[1] == "sqlite"


def _path(parsed: URL, kind: str) -> Path:
    if kind == "journal":
        return _file_of(parsed)
    from storage import sqlite

    return sqlite.path_of(parsed)


@contextmanager
def readable_errors(url: str) -> Iterator[None]:
    """Turn a database's own errors into one line that names the storage and the cause."""
    try:
        yield
    except _own_errors() as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = _without(_secrets(url), _words(cause))
        raise StorageError(f"storage {redacted(url)}: {said}{_remedy(said)}") from error


def _own_errors() -> tuple[type[BaseException], ...]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    grpc = sys.modules.get("grpc")  # not imported: none of its errors can come
    return (SQLAlchemyError, StorageInternalError, *([grpc.RpcError] if grpc else []))


def _words(cause: BaseException) -> str:
    details = getattr(cause, "details", None)  # of a gRPC error
    text = details() if callable(details) else str(cause)
    return str(text).splitlines()[0] if text else type(cause).__name__


def _without(secrets: list[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


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


def redacted(url: str) -> str:
    """The URL without its password, wherever that stands, for messages and headers."""
    parsed = _taken_apart(url)
    if parsed is None or "@" in (parsed.host or ""):  # a host with half a password before it
        return url.split("://")[0] + "://…" if "://" in url else "(not a URL)"
    hidden = {key: "***" for key in parsed.query if _is_secret(key)}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def holds_password(url: str) -> bool:
    """Whether there is one in it, or what may be one in what is no URL."""
    parsed = _taken_apart(url)
    if parsed is None or "@" in (parsed.host or ""):
        return "@" in url
    return bool(parsed.password) or any(map(_is_secret, parsed.query))


def _taken_apart(url: str) -> URL | None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("pass", "pwd", "secret", "token"))


def _secrets(url: str) -> list[str]:
    """What no message may hold, also where a driver quotes it."""
    parsed = _taken_apart(url)
    if parsed is None:  # no driver has seen it
        return []
    found = [parsed.password, *(v for key, v in parsed.query.items() if _is_secret(key))]
    return [secret for secret in found if isinstance(secret, str) and secret]


def _parsed(url: str) -> tuple[URL, str]:
    """The URL and its kind: sqlite, journal, grpc or server."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StorageError(f"storage {redacted(url)!r} is not a URL: wanted {WANTED}") from None
    if "@" in (parsed.host or ""):  # drivers would quote the rest of the password as the host
        raise StorageError(
            f"storage {redacted(url)!r} has an @ too many: one in a password is written %40"
        )
    if parsed.drivername in DRIVERS:
        return parsed, "server"
    if parsed.drivername not in ("sqlite", "journal", "grpc"):
        raise StorageError(
            f"storage {redacted(url)!r} is of an unknown kind {parsed.drivername!r}: "
            f"wanted {WANTED}"
        )
    return parsed, parsed.drivername


def _file_of(parsed: URL) -> Path:
    if parsed.host or not parsed.database:
        raise StorageError(
            f"journal URL {parsed!r} names no file: wanted journal:///path/to/file.log, with three "
            "slashes, or four for an absolute path"
        )
    path = Path(parsed.database).resolve()
    if path.is_dir():
        raise StorageError(f"{path} is a folder, wanted a journal file")
    return path


def _address_of(parsed: URL) -> tuple[str, int]:
    if not parsed.host or parsed.database or parsed.password:
        raise StorageError(f"{parsed!r} is no address of a gRPC server: wanted grpc://host:port")
    return parsed.host, parsed.port or DEFAULT_PORT
