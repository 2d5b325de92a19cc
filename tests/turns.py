"""Tests beside each other, and tests of measured times alone: what other work would disturb."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

QUEUE = Path(__file__)  # whoever waits to be alone holds it, so that nobody overtakes
RUNNING = Path(__file__).with_name("conftest.py")  # shared by tests that run beside each other


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """The time in which one test of this checkout runs, on whichever process."""
    with ExitStack() as stack:
        with _lock(QUEUE, fcntl.LOCK_EX):
            stack.enter_context(_lock(RUNNING, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield


@contextmanager
def _lock(path: Path, kind: int) -> Iterator[None]:
    with path.open("rb") as file:
        fcntl.flock(file, kind)
        try:
            yield
        finally:
            # Closing would not do: a process that the test forked holds the file open too.
            fcntl.flock(file, fcntl.LOCK_UN)
