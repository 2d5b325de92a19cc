"""Ctrl-C, SIGTERM and SIGHUP end the running objective, never a storage transaction.

The first signal lets a run finish its epoch where that is worth anything (it is kept in a
checkpoint), the second ends it at once. SIGTERM comes from clusters, which kill soon after: there
the epoch gets EPOCH_SECONDS, and the process ends within EXIT_SECONDS whatever happens. SIGHUP,
which a terminal sends that is closed, is taken as SIGTERM.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from batchfront.objectives.raised import Halted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAX_SIGNALS = 3
EPOCH_SECONDS = 12.0
EXIT_SECONDS = 18.0


class Interrupted(Halted):
    """Raised where a signal is to end what runs."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@contextmanager
def handled_by(
    handler: Callable[[int, FrameType | None], object], signals: Sequence[signal.Signals]
) -> Iterator[None]:
    """Inside, it is called with these signals, but not with a SIGHUP that is ignored (nohup)."""
    deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [signum for signum in signals if not (deaf and signum == signal.SIGHUP)]
    before = {signum: signal.signal(signum, handler) for signum in heard}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)


@contextmanager
def ending_by_exception() -> Iterator[None]:
    """Inside, signals raise `Interrupted`, Ctrl-C too: files are closed.

    A KeyboardInterrupt is then what code of the user's own has raised. For what no `Interrupts`
    looks after; does nothing on other threads than the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # nobody else's, on
    with handled_by(_raise, SIGNALS if plain else SIGNALS[1:]):
        yield


def _raise(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(_meant(signum))


def _meant(signum: int) -> int:
    return signal.SIGTERM if signum == signal.SIGHUP else signum


class Interrupts:
    """Remembers the first signal; raises while `armed`, at every signal: some code swallows one.

    From the third signal on the system's own handling ends the process.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._seen = 0
        self._armed = False
        self._gently = False
        self._timers: list[threading.Timer] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take over the signals of this process inside; on another thread than the main: none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        try:
            with handled_by(self._handle, SIGNALS):
                yield
        finally:
            for timer in self._timers:
                timer.cancel()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        signum = _meant(signum)
        self._seen += 1
        self.request(signum)
        if self._seen == 1 and signum == signal.SIGTERM:
            main = threading.main_thread().ident or 0
            self._later(EPOCH_SECONDS, signal.pthread_kill, main, signum)  # as a second signal
        if self._seen == 2 or signum == signal.SIGTERM:
            self._later(EXIT_SECONDS, os._exit, self.exit_code)
        if self._seen >= MAX_SIGNALS:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
        if self._armed and not (self._gently and self._seen == 1):
            raise Interrupted(signum)

    def _later(self, seconds: float, *call: object) -> None:
        timer = threading.Timer(seconds, call[0], call[1:])  # type: ignore[arg-type]
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def request(self, signum: int) -> None:
        """Behave from the next check on as if the signal had come."""
        self.signum = self.signum or signum

    @contextmanager
    def armed(self, *, gently: bool = False) -> Iterator[None]:
        """Signals raise `Interrupted` inside, also one that came before.

        Gently: only from the second on; whoever asks for that looks at `signum` itself.
        """
        self._armed, self._gently = True, gently
        try:
            if self.signum is not None:
                raise Interrupted(self.signum)
            yield
        finally:
            self._armed = self._gently = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside an armed stretch: wait until the block is done, then raise."""
        was, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = was
        if was and self.signum is not None and not (self._gently and self._seen <= 1):
            raise Interrupted(self.signum)

    @property
    def n_seen(self) -> int:
        """Signals so far."""
        return self._seen

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM, 0 for neither, as shells count."""
        return 0 if self.signum is None else 128 + self.signum
