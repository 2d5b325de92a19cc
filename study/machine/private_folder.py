"""Folders on this machine that nobody but their user can write to, for locks.

The name of one in /tmp can be guessed, so another user may have put a folder or link of his there.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
MODE = 0o700


@contextmanager
def private_folders() -> Iterator[list[int]]:
    """Descriptors of the sound ones: in XDG_RUNTIME_DIR, and in the folder for temporary files.

    A login has the first and a cron job may not; TMPDIR may differ between them. Whoever locks in
    all that he finds meets every process of his that finds one of them.
    """
    found: list[int] = []
    try:
        for opened in (_runtime_folder, _temporary_folder):
            with suppress(OSError):
                found.append(opened())
        yield found
    finally:
        for descriptor in found:
            os.close(descriptor)


def why_no_folder() -> str | None:
    """What is wrong with each of them; None when one is sound."""
    reasons = []
    for opened in (_runtime_folder, _temporary_folder):
        try:
            os.close(opened())
        except OSError as error:
            reasons.append(str(error))
        else:
            return None
    return "; ".join(reasons)


def _runtime_folder() -> int:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not os.path.isabs(runtime):  # as its specification says
        raise FileNotFoundError("XDG_RUNTIME_DIR is not set")
    parent = _opened(Path(runtime))
    try:
        return _made(Path(runtime, "batchfront"), parent)
    finally:
        os.close(parent)


def _temporary_folder() -> int:
    return _made(Path(tempfile.gettempdir(), f"batchfront-{os.getuid()}"))


def _made(path: Path, parent: int | None = None) -> int:
    with suppress(FileExistsError):
        os.mkdir(path if parent is None else path.name, MODE, dir_fd=parent)
    return _opened(path, parent)


def _opened(path: Path, parent: int | None = None) -> int:
    """A descriptor of what was checked, whatever the name stands for a moment later.

    Raises:
        OSError: no folder, a link, somebody else's, or open to others.
    """
    try:
        descriptor = os.open(path if parent is None else path.name, OPEN, dir_fd=parent)
    except NotADirectoryError:
        raise NotADirectoryError(f"{path} is a link or no folder") from None
    status = os.fstat(descriptor)
    mode = stat.S_IMODE(status.st_mode) & 0o777  # a folder's children may inherit its set-gid bit
    if status.st_uid == os.geteuid() and mode == MODE:
        return descriptor
    os.close(descriptor)
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to user {status.st_uid}")
    raise PermissionError(f"{path} has mode {mode:o}, wanted {MODE:o}")
