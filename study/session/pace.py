"""Which epochs deserve a line in a log: of runs that take hours nothing else is to be seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from batchfront.study.workers.events import Event

MINUTE = 60.0  # between lines of one worker: a slower epoch has a line each


class Pace:
    """Dates the events of long runs, by worker."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}  # the last line, or the start of the run
        self._is_long: set[int] = set()

    def stamp(self, event: Event) -> str:
        """`2026-11-29 09:40:12 ` where an epoch is worth a line, or a run ends that had one."""
        now, worker = self._clock(), event.worker
        if event.kind == "started" or worker not in self._since:
            self._since[worker] = now
            self._is_long.discard(worker)
            return ""
        if now - self._since[worker] >= MINUTE:
            self._is_long.add(worker)
        elif event.kind != "ended" or worker not in self._is_long:
            return ""
        self._since[worker] = now
        return f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} "
