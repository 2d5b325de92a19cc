"""What a storage URL names, and never its password."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast
from unicodedata import category

from batchfront.storage.errors import StorageError

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
# What file systems and SQLite take, less what stands after the names of logs and locks.
NAME_BYTES, PATH_BYTES, SQLITE_PATH_BYTES = 180, 4000, 490
WANTED = (
    "sqlite:///path/to/file.db, postgresql+psycopg://user@host/database, "
    "mysql+pymysql://user@host/database, journal:///path/to/file.log or grpc://host:port"
)

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


@dataclass(frozen=True, kw_only=True)
class FileUrl:
    """What `make_url` makes of an SQLite file whose name needs no quoting."""

    database: str
    drivername: str = "sqlite"
    username: None = None
    password: None = None
    host: None = None
    port: None = None
    query: Mapping[str, str] = field(default_factory=dict)


def sqlite_file_of(url: URL) -> Path:
    """The database file of a sqlite URL; symbolic links resolved, as its folder is what we lock.

    Raises:
        StorageError: the URL names no file.
    """
    if url.host:  # sqlite://runs/file.db: two slashes where three are meant
        raise StorageError(
            f"an SQLite URL has no host, found {url.host!r}: wanted sqlite:///path/to/file.db, "
            "with three slashes, or four for an absolute path"
        )
    name = url.database
    if not name or name == ":memory:" or name.startswith("file:"):
        raise StorageError(
            "an in-memory SQLite database cannot be resumed or shared: wanted sqlite:///path/to/file.db"
        )
    if url.query:
        options = ", ".join(url.query)
        raise StorageError(
            f"options of an SQLite URL ({options}) are not supported: leave them out"
        )
    return _file_named(name, "a database file", longest=SQLITE_PATH_BYTES)


def _file_named(name: str, what: str, *, longest: int = PATH_BYTES) -> Path:
    """The file of that name, links resolved; nothing is made or opened, so nothing is left behind.

    Raises:
        StorageError: there can be none of that name, or what is there is no file.
    """
    try:
        path = Path(name).expanduser().resolve()
        lengths = [len(part.encode()) for part in (str(path), *path.parts)]
    except (RuntimeError, UnicodeEncodeError) as error:  # no such home; not UTF-8
        raise StorageError(f"{name!r} cannot be {what}: {error}") from None
    if lengths[0] > longest or max(lengths[1:]) > NAME_BYTES:
        raise StorageError(
            f"the name of {path} is too long for {what}: wanted at most {NAME_BYTES} bytes for "
            f"each part and {longest} for all"
        )
    if os.path.exists(path) and not os.path.isfile(path):  # False where we may not look
        kind = "a folder" if path.is_dir() else "no regular file"
        raise StorageError(f"{path} is {kind}, wanted {what}")
    return path


def folder_of(url: str) -> Path | None:
    """The folder a storage lies in; None for a server's.

    Raises:
        StorageError: unknown kind of URL.
    """
    parsed, kind = parse(url)
    return None if kind in ("grpc", "server") else file_of(parsed, kind).parent


def anchored(url: str) -> str:
    """The same storage, named so that it is found from any folder of this machine.

    Raises:
        StorageError: unknown kind of URL.
    """
    parsed, kind = parse(url)
    return url if kind in ("grpc", "server") else f"{kind}:///{file_of(parsed, kind)}"


def is_of_one_machine(url: str) -> bool:
    """Whether only processes of one machine can share it."""
    return parse(url)[1] == "sqlite"


def file_of(parsed: URL, kind: str) -> Path:
    if kind == "journal":
        return journal_file_of(parsed)
    return sqlite_file_of(parsed)


def redacted(url: str) -> str:
    """The URL without its password, wherever that stands, for messages and headers."""
    parsed = _taken_apart(url)
    if parsed is None or "@" in (parsed.host or ""):  # a host with half a password before it
        return url.split("://")[0] + "://…" if "://" in url else "(not a URL)"
    return _shown(parsed)


def _shown(parsed: URL) -> str:
    if isinstance(parsed, FileUrl):
        return f"{parsed.drivername}:///{parsed.database}"
    hidden = {key: "***" for key in parsed.query if _is_secret(key)}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def holds_password(url: str) -> bool:
    """Whether there is one in it, or what may be one in what is no URL."""
    parsed = _taken_apart(url)
    if parsed is None or "@" in (parsed.host or ""):
        return "@" in url
    return bool(parsed.password) or any(map(_is_secret, parsed.query))


def _taken_apart(url: str) -> URL | None:
    plain = re.fullmatch(r"sqlite:///([A-Za-z0-9_./-]+)", url)
    if plain is not None:  # importing SQLAlchemy takes as long as to read thousands of trials
        return cast("URL", FileUrl(database=plain[1]))
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url.encode()  # else nothing could render it again
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("pass", "pwd", "secret", "token"))


def without_secrets(url: str, text: str) -> str:
    """The text without the passwords of the URL, which drivers quote."""
    for secret in _secrets_in(url):
        text = text.replace(secret, "***")
    return text


def _secrets_in(url: str) -> list[str]:
    """What no message may hold, also where a driver quotes it."""
    parsed = _taken_apart(url)
    if parsed is None:  # no driver has seen it
        return []
    found = [parsed.password, *(v for key, v in parsed.query.items() if _is_secret(key))]
    return [secret for secret in found if isinstance(secret, str) and secret]


def parse(url: str) -> tuple[URL, str]:
    """The URL and its kind: sqlite, journal, grpc or server."""
    parsed = _taken_apart(url)
    if parsed is None:
        raise StorageError(f"storage {redacted(url)!r} is not a URL: wanted {WANTED}")
    if "@" in (parsed.host or ""):  # drivers would quote the rest of the password as the host
        raise StorageError(
            f"storage {redacted(url)!r} has an @ too many: one in a password is written %40"
        )
    _check_parts(parsed)
    if parsed.drivername in DRIVERS:
        return parsed, "server"
    if parsed.drivername not in ("sqlite", "journal", "grpc"):
        raise StorageError(
            f"storage {redacted(url)!r} is of an unknown kind {parsed.drivername!r}: "
            f"wanted {WANTED}"
        )
    return parsed, parsed.drivername


def _check_parts(parsed: URL) -> None:
    """Raise StorageError for what no driver takes, and some fail on without a word."""
    texts = (parsed.username, parsed.password, parsed.host, parsed.database, *parsed.query.values())
    if any(category(c) in ("Cc", "Cs") for text in texts for c in "".join(text or "")):
        raise StorageError(
            f"storage {_shown(parsed)!r} holds a control character, or what is not UTF-8: a "
            "storage needs a name that can be printed"
        )
    if parsed.port is not None and not 0 < parsed.port < 2**16:
        raise StorageError(f"the port of {_shown(parsed)!r} is out of range: wanted 1 to 65535")
    try:
        (parsed.host or "").encode("idna")
    except UnicodeError as error:
        raise StorageError(f"storage {_shown(parsed)!r} has no possible host: {error}") from None


def journal_file_of(parsed: URL) -> Path:
    if parsed.host or not parsed.database:
        raise StorageError(
            f"journal URL {parsed!r} names no file: wanted journal:///path/to/file.log, with three "
            "slashes, or four for an absolute path"
        )
    return _file_named(parsed.database, "a journal file")


def address_of(parsed: URL) -> tuple[str, int]:
    if not parsed.host or parsed.database or parsed.password:
        raise StorageError(f"{parsed!r} is no address of a gRPC server: wanted grpc://host:port")
    return parsed.host, parsed.port or DEFAULT_PORT
