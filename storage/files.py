"""Files that are there as a whole or not at all, in folders where others may have put things."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

NEW = ".new"  # ends the name of a file that is not finished


def nearest(path: Path) -> Path:
    """The path itself where it is there, else the folder above it, or above that, that is."""
    resolved = path.resolve()
    # A folder that we may not look into is nearer than what may be in it.
    return next(one for one in (resolved, *resolved.parents) if os.path.exists(one))


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to be written into, which takes the place of `path` when the block ends.

    It is written aside, flushed to the disk and renamed: a crash or a full disk leaves the old
    file. Its name is new, so that nothing which lies in the folder already is written into.

    Raises:
        OSError: it cannot be written; `path` is as before.
    """
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{NEW}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(aside, flags, 0o666)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Write a text into `path`: aside and renamed, where that is a file or is not there yet.

    A device or a pipe is written to as it is, and a link leads to what is replaced.

    Raises:
        OSError: it cannot be written.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    there = target.stat().st_mode if target.exists() else None
    if there is not None and not stat.S_ISREG(there):
        target.write_text(text)
        return
    with replacing(target) as file:
        if there is not None:
            os.fchmod(file.fileno(), stat.S_IMODE(there))
        file.write(text.encode())


def open_own(path: Path) -> BinaryIO:
    """Open a file that we, or whoever owns its folder, have written; nothing else is waited for.

    Raises:
        FileNotFoundError: there is nothing of that name.
        OSError: it is a link, a pipe, somebody else's, or cannot be read.
    """
    # Without O_NONBLOCK a pipe of that name would be waited for until somebody writes into it.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if path.is_symlink():
        raise OSError("it is a link")
    file = open(os.open(path, flags), "rb")  # noqa: SIM115  # the caller closes it
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no regular file")
        # A server of files may give what root writes another owner: the folder shows which one.
        if status.st_uid not in (os.geteuid(), path.parent.stat().st_uid):
            raise OSError(f"it belongs to another user, of id {status.st_uid}")
    except BaseException:
        file.close()
        raise
    return file
