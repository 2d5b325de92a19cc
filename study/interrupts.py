"""Ctrl-C and SIGTERM end the running objective, never a storage transaction."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
MAX_SIGNALS = 3


class Interrupted(BaseException):
    """Raised inside an objective; no `Exception`, so that user code does not swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Interrupts:
    """Remembers the first signal; raises while `armed`, at every signal: some code swallows one.

    From the third signal on the system's own handling ends the process.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._seen = 0
        self._armed = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take over SIGINT and SIGTERM of this process inside; main thread only."""
        before = [signal.signal(signum, self._handle) for signum in SIGNALS]
        try:
            yield
        finally:
            for signum, handler in zip(SIGNALS, before, strict=True):
                signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self._seen += 1
        self.request(signum)
        if self._seen >= MAX_SIGNALS:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
        if self._armed:
            raise Interrupted(signum)

    def request(self, signum: int) -> None:
        """Behave from the next check on as if the signal had come."""
        self.signum = self.signum or signum

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Signals raise `Interrupted` inside, also one that came before."""
        self._armed = True
        try:
            if self.signum is not None:
                raise Interrupted(self.signum)
            yield
        finally:
            self._armed = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside an armed stretch: wait until the block is done, then raise."""
        was, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = was
        if was and self.signum is not None:
            raise Interrupted(self.signum)

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM, 0 for neither, as shells count."""
        return 0 if self.signum is None else 128 + self.signum
