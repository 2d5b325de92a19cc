"""What a training loop does between its epochs, outside `run.validating()`: it counts as training.

A probe of a small batch size takes some steps and never comes to the end of an epoch; one of a
large size times whole epochs. Without what lies between, small sizes would look too fast.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from batchfront.objectives.measurement import TrialParams, Verdict
from batchfront.objectives.meters.clock import synchronizer
from batchfront.objectives.metric import Metric
from batchfront.objectives.run import Run, carry_out

ENDS = 2  # epochs' ends that are timed; the first may prepare something once
MOST_SECONDS = 2.0  # until one comes


class BetweenRun(Run):
    """A `Run` that times what is no step, and stops the loop after a few epochs."""

    holds_batch_size = True

    def __init__(self, *, device: str, metric: str | Metric | None) -> None:
        super().__init__(device=device, metric=metric, measure_memory=False)
        self._synchronize = synchronizer(device)
        self._looked_away = 0.0
        self._began: float | None = None  # with the first step
        self._last: float | None = None  # when the last step of this epoch ended
        self._told_at: float | None = None  # when the last report ended, until a step follows
        self._lasted: list[float] = []  # seconds of steps
        self.ends: list[float] = []  # seconds between epochs

    def step(self, loss: Any, n: int = 1) -> None:
        """Time a step, or what lay between two epochs and one step."""
        now = self._now()
        self._began = self._began or now
        if self._told_at is not None and self._lasted:
            self.ends[-1] += max(0.0, now - self._told_at - n * median(self._lasted))
            self._told_at = None
        elif self._last is not None:
            self._lasted.append((now - self._last) / n)
        self._last = now
        if len(self.ends) >= ENDS or now - self._began > MOST_SECONDS:
            self._stop(Verdict.COMPLETED, "timed")

    @contextmanager
    def validating(self) -> Iterator[None]:
        """What is done inside does not count."""
        since = self._clock_time()
        try:
            yield
        finally:
            self._looked_away += self._clock_time() - since

    def report(self, value: float | None = None, /, **named: float | None) -> None:
        """The epoch is at its end."""
        now = self._now()
        self.curve.append(self._told(value, named)[0])
        self.ends.append(now - self._last if self._last is not None else 0.0)
        self._last, self._told_at = None, self._now()

    def _clock_time(self) -> float:
        self._synchronize()
        return time.perf_counter()

    def _now(self) -> float:
        return self._clock_time() - self._looked_away


def between_epochs(
    objective: Callable[[TrialParams, Run], None],
    params: TrialParams,
    *,
    metric: str | Metric | None,
) -> float:
    """Seconds that lie between two epochs, the least of a few; 0 where no epoch ends in time."""
    run = BetweenRun(device=params.device, metric=metric)
    carry_out(objective, params, run)
    return min(run.ends[:ENDS], default=0.0)
