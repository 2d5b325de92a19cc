"""Training time that excludes validation, warm-up and everything the loop does for us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median
from typing import Any


def synchronizer(device: str) -> Callable[[], None]:
    """A function that waits until `device` has finished its queue; nothing to wait for on cpu."""
    if device.startswith("cpu"):
        return lambda: None
    import torch

    return lambda: torch.accelerator.synchronize(device)


@dataclass(frozen=True, kw_only=True)
class Lap:
    """One epoch's training steps."""

    seconds: float  # wall
    process_seconds: float  # CPU
    warm: bool  # not the first epoch, and no step of it was instrumented
    steps: int = 0  # optimizer steps, of which epochs may have one more or less; 0: not known
    waited: float = 0.0  # of the seconds, for data


class Clock:
    """A stopwatch of laps (epochs) that can stand still in between."""

    def __init__(self, synchronize: Callable[[], None] = lambda: None) -> None:
        self._synchronize = synchronize
        self._laps: list[Lap] = []
        self._wall = self._process = self._waited = 0.0  # of the lap in progress
        self._since: tuple[float, float] | None = None  # None while standing still
        self._cold = True  # the next lap is the first one of this process

    def start(self) -> None:
        """Run; does nothing when already running."""
        if self._since is None:
            self._synchronize()
            self._since = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """Stand still; does nothing when already standing."""
        if self._since is not None:
            self._synchronize()
            wall, process = self._since
            self._wall += time.perf_counter() - wall
            self._process += time.process_time() - process
            self._since = None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Exclude what happens inside; runs afterwards only if it ran before."""
        ran = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if ran:
                self.start()

    def lap(self, *, instrumented: bool, steps: int = 0) -> None:
        """Close an epoch while the clock stands still."""
        warm = not self._cold and not instrumented
        self._cold = False
        self._laps.append(
            Lap(
                seconds=self._wall,
                process_seconds=self._process,
                warm=warm,
                steps=steps,
                waited=self._waited,
            )
        )
        self._wall = self._process = self._waited = 0.0

    def waited(self, seconds: float) -> None:
        """So many seconds of the lap in progress went by until there was data."""
        self._waited += seconds

    @property
    def wait_share(self) -> float:
        """The share of the time that was waited for data: of warm laps, where there are any."""
        laps = [lap for lap in self._laps if lap.warm] or self._laps
        seconds = sum(lap.seconds for lap in laps) or self._wall
        return (sum(lap.waited for lap in laps) or self._waited) / seconds if seconds else 0.0

    def laps(self) -> list[tuple[float, ...]]:
        """All laps so far, to go on from in another process."""
        return [
            (lap.seconds, lap.process_seconds, lap.warm, lap.steps)
            + ((lap.waited,) if lap.waited else ())
            for lap in self._laps
        ]

    def go_on_from(self, laps: Sequence[tuple[Any, ...]]) -> None:
        """Take the laps of an earlier process; what was between them and now does not count.

        Those of older versions do not tell their steps.
        """
        self._laps = [
            Lap(seconds=s, process_seconds=p, warm=w, steps=sum(more[:1]), waited=sum(more[1:]))
            for s, p, w, *more in laps
        ]

    def spent(self) -> tuple[float, float]:
        """Wall and CPU seconds so far: every lap at its own length, and the one in progress."""
        return (
            sum(lap.seconds for lap in self._laps) + self._wall,
            sum(lap.process_seconds for lap in self._laps) + self._process,
        )

    def now(self) -> float:
        """Wall seconds so far, without waiting for the device; it may be running."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since[0]
        return self.spent()[0] + running

    def typical(self, phases: Sequence[int] = ()) -> tuple[float, float]:
        """Wall and CPU seconds of the laps at the median warm pace: free of warm-up and hiccups.

        `phases`: how many laps in a row are alike, where they are not all.
        """
        if not any(lap.warm for lap in self._laps):
            return self.spent()
        ends = [*accumulate(phases), len(self._laps)]
        parts = [self._laps[a:b] for a, b in pairwise([0, *ends])]
        times = [_typical(laps) for laps in parts if laps]
        return sum(wall for wall, _ in times), sum(process for _, process in times)


class SharedClock(Clock):
    """A clock that is told how long a run has trained, of several that train at once."""

    def start(self) -> None:
        """Wait to be told."""

    def stop(self) -> None:
        """Wait to be told."""

    def passed(self, seconds: float, process_seconds: float) -> None:
        """So much of the time of all of them was this run's."""
        self._wall += seconds
        self._process += process_seconds


def _typical(laps: Sequence[Lap]) -> tuple[float, float]:
    """The wall and process seconds of laps that are alike; as measured where none is warm."""
    told = all(lap.steps for lap in laps)  # else all laps count alike
    lengths = [lap.steps if told else 1 for lap in laps]
    warm = [(lap, length) for lap, length in zip(laps, lengths, strict=True) if lap.warm]
    if not warm:
        return sum(lap.seconds for lap in laps), sum(lap.process_seconds for lap in laps)
    return (
        sum(lengths) * median(lap.seconds / length for lap, length in warm),
        sum(lengths) * median(lap.process_seconds / length for lap, length in warm),
    )
