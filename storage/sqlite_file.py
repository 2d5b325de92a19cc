"""What a file must be before SQLite opens it as a storage; nothing is written.

It knows neither Optuna nor SQLAlchemy, which take longer to import than many a reader takes.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from batchfront.storage.errors import StorageError
from batchfront.storage.schema import TABLES

TIMEOUT_SECONDS = 60.0  # how long a transaction waits for another process's lock
NETWORK_FILE_SYSTEMS = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "smb3", "smbfs",
}  # fmt: skip


def check_readable(path: Path) -> None:
    """Raise StorageError where no reader can open the file: missing, damaged, another's, remote."""
    check_there(path)
    refuse_network_file_system(path)
    check_file(path)


def check_there(path: Path) -> None:
    """Raise StorageError for a file that is missing, or may not be looked at."""
    if is_missing(path):
        raise StorageError(f"there is no database {path} yet: the first run creates it")


def address(path: Path, *, creates: bool = False) -> str:
    """A file by which a connection does not make it anew where it was deleted just before."""
    if not creates and _is_sealed(path):
        return f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return f"{path.absolute().as_uri()}?mode={'rwc' if creates else 'rw'}"


def _is_sealed(path: Path) -> bool:
    """Whether it is read where nobody can write: no log can be made there, and none is needed.

    A log that is there belongs to a writer, or to one that was killed: what it holds would be
    missing, or half of it. SQLite keeps logs beside the file itself, not beside a link to it.
    """
    real = path.resolve()
    logs = (real.with_name(real.name + suffix) for suffix in ("-wal", "-shm", "-journal"))
    return not os.access(real.parent, os.W_OK) and not any(log.exists() for log in logs)


def is_missing(path: Path) -> bool:
    """An empty file counts as missing: it holds no schema."""
    try:
        return not path.exists() or (path.is_file() and path.stat().st_size == 0)
    except PermissionError as error:
        raise StorageError(f"cannot look at {path}: {error.strerror}") from error


def check_file(path: Path) -> None:
    """Refuse files that are no database, damaged, or somebody else's: raise StorageError."""
    if path.is_dir():
        raise StorageError(f"{path} is a folder, wanted a database file")
    if is_missing(path):
        return
    try:
        with closing(
            sqlite3.connect(address(path), uri=True, timeout=TIMEOUT_SECONDS)
        ) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if "trials" in tables:
                connection.execute("SELECT count(*) FROM trials")
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"{path} cannot be opened ({error}): is the file readable, its folder writable "
            "(SQLite keeps a log there, even for readers) and the disk not full?"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StorageError(
            f"{path} cannot be read as an SQLite database ({error}): restore a copy of it, "
            "or choose another --storage"
        ) from error
    if not tables >= TABLES:
        holds = ", ".join(sorted(tables)[:5]) or "nothing"
        raise StorageError(
            f"{path} is a database of something else (it holds {holds}): choose another --storage"
        )


def refuse_network_file_system(path: Path) -> None:
    """Raise StorageError where SQLite's locks do not work."""
    kind = file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StorageError(
            f"{path} is on a network file system ({kind}), where SQLite loses data: keep it on a "
            "local disk; several machines share postgresql+psycopg://user@host/database, or "
            f"journal://{path.with_suffix('.log')} on NFS"
        )


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that holds `path`; None where the system does not tell."""
    if not mounts.exists():
        return None
    real = path.resolve()
    best: tuple[int, str] | None = None
    for line in mounts.read_text(errors="replace").splitlines():
        _, mount_point, kind, *_ = line.split(" ")
        point = Path(mount_point.replace("\\040", " "))
        if real.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = (len(point.parts), kind)
    return best[1] if best else None
