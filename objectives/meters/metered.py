"""The part of `Run` that measures what it costs: training seconds and peak memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from batchfront.objectives.meters.clock import Clock, synchronizer
from batchfront.objectives.meters.memory import NoMeter, memory_meter
from batchfront.objectives.meters.metering import FirstSteps

Batch = TypeVar("Batch")


class Metered:
    """A clock and a memory meter that see training steps alone, from `with run:` to its end."""

    def __init__(self, *, device: str, measure_memory: bool, compiled: bool) -> None:
        self.measures_memory = measure_memory
        self._device = device
        self._clock = Clock(synchronizer(device))
        meter = memory_meter(device, compiled=compiled) if measure_memory else NoMeter()
        self._meter = FirstSteps(meter)
        self._waits = False  # for data, at every step

    def __enter__(self) -> Self:
        if not self._device.startswith("cpu"):
            gc.collect()  # models in reference cycles would pile up on the device
        self._meter.start()
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._clock.stop()  # waits for the device, which may be lost
        finally:
            self._meter.stop()

    def timed_by(self, clock: Clock) -> None:
        """Take another clock, before `begin`: of a run that shares its time with others."""
        self._clock = clock

    def used_elsewhere(self, peak_memory_bytes: int) -> None:
        """Note another process's peak: of all that take part, the largest counts."""
        self._meter.elsewhere(peak_memory_bytes)

    def waited(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, with the time until each of them is there told apart from training."""
        self._waits = True
        return self.unmetered(self._timed(batches))

    def _timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        coming = iter(batches)
        while True:
            since = time.perf_counter()
            found = next(coming, None)
            self._note_wait(time.perf_counter() - since)
            if found is None:
                return
            yield found
            del found

    def unmetered(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, which are data and no part of the peak, wherever they are made."""
        coming = iter(batches)
        while True:
            with self._meter.looking_away():
                found = next(coming, None)
            if found is None:
                return
            yield found
            del found  # or it would lie beside the next one

    def _note_wait(self, seconds: float) -> None:
        self._clock.waited(seconds)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Clock and memory meter look away: what is made inside is data, no part of training."""
        with self._clock.standing_still(), self._meter.looking_away():
            yield

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Clock and memory meter stand still inside."""
        with self._clock.standing_still():
            self._meter.pause()
            try:
                yield
            finally:
                self._meter.resume()

    def _waiting(self) -> dict[str, float]:
        return {"data_wait_share": round(self._clock.wait_share, 3)} if self._waits else {}

    def _costs(self) -> dict[str, Any]:
        """All that was measured, to go on from in another process."""
        return {
            "laps": self._clock.laps(),
            "peak_bytes": self._meter.peak_bytes,
            "evaluation_peak_bytes": self._meter.evaluation_peak_bytes or 0,
        }

    def _go_on_costing(self, state: Mapping[str, Any]) -> None:
        """Take what `_costs` of an earlier process returned; older versions saw no evaluation."""
        self._clock.go_on_from(state["laps"])
        self._meter.earlier_peak_bytes = state["peak_bytes"]
        self._meter.earlier_evaluation_bytes = state.get("evaluation_peak_bytes", 0)
