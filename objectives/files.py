"""Reads files that a person has named: nothing else is waited for, or read without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_file(path: Path, *, most_bytes: int | None = None) -> bytes:
    """All that a regular file holds.

    Raises:
        OSError: it cannot be read, is a folder, a pipe or a device, or holds more.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if most_bytes is not None and status.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"it holds more than {most_bytes} bytes", str(path))
        return file.read()
