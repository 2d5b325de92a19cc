"""Is a file still the one that was opened under its name?

A process goes on writing into a file that was deleted or replaced, and nobody will ever read that.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from batchfront.storage.errors import StorageError

REMEDY = "put the file back, or choose another --storage, and run the same command again"


class FileWatch:
    """Knows a file by device and inode."""

    def __init__(self, path: Path, *, remedy: str = REMEDY, hold: bool = False) -> None:
        """`hold`: keep the file open, so that no new one gets its inode. Never for SQLite's files.

        Closing any descriptor of a file gives up all locks that SQLite has on it in this process.
        """
        self._path = path
        self._remedy = remedy
        self._identity = _identity(path)
        if hold:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, descriptor)

    def check(self, descriptor: int | None = None) -> None:
        """Look at the name, or at what was opened by it.

        Raises:
            StorageError: it is another file, or none.
        """
        found = _identity(self._path if descriptor is None else descriptor)
        if found != self._identity:
            raise StorageError(
                f"{self._path} was {'deleted' if found is None else 'replaced'} while this process "
                f"used it, and nothing more is recorded: {self._remedy}"
            )


def _identity(file: Path | int) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):  # also where a folder above it is gone
        return None
    return status.st_dev, status.st_ino
