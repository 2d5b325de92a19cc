"""A lock on a file or folder that the system frees when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.005
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # by the file system


@contextmanager
def file_lock(path: Path, patience_seconds: float = math.inf) -> Iterator[bool]:
    """Hold `path`, an existing folder, or a file that is made when it is missing.

    Yields False, holding nothing, when another kept it for `patience_seconds`, or where the file
    system has no locks. On NFS the lock is the server's (Linux 2.6.12 and newer).
    """
    # NFS locks only files that are open for writing.
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        yield _taken(descriptor, time.monotonic() + patience_seconds)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, give_up_at: float) -> bool:
    """Asks again and again: a blocking call could not be given up."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                return False
            time.sleep(POLL_SECONDS * random.random())  # noqa: S311  # apart from other waiters
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return False
            raise
        else:
            return True
