"""A memory meter that slows steps down sees only the first ones of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from batchfront.objectives.meters.accelerator import AcceleratorMeter
from batchfront.objectives.meters.memory import MEASURED_STEPS, CpuMeter, MemoryMeter


class FirstSteps:
    """Stops its meter after MEASURED_STEPS, unless that costs nothing."""

    def __init__(self, meter: MemoryMeter) -> None:
        self._meter = meter
        self.earlier_peak_bytes = 0  # of other processes of the run
        self.earlier_evaluation_bytes = 0
        self._watching = False  # and so slowing steps down
        self._n_steps = 0
        self._n_fetched = 0  # batches: the first ones are as large as any
        self._instrumented = False
        self._evaluates = False  # watched for that alone

    def start(self) -> None:
        """Begin to measure, before the model is built."""
        self._meter.start()
        self._watching = self._meter.slows_down

    def again(self) -> None:
        """Larger steps follow: see the first ones of them, too. What lives is still known."""
        self._n_steps = self._n_fetched = 0
        if self._meter.slows_down and not self._watching:
            self._meter.start()
            self._watching = True

    def stop(self) -> None:
        """End the measuring; safe to call twice."""
        self._watching = False
        self._meter.stop()

    def step(self, n: int = 1) -> None:
        """So many steps have been taken."""
        if self._watching:
            self._instrumented = True
            self._n_steps += n
            if self._n_steps >= MEASURED_STEPS:
                self.stop()

    def pause(self) -> None:
        """What follows is evaluation: the first one is looked at, too."""
        self._meter.pause()
        if isinstance(self._meter, CpuMeter) and not (self._watching or self.evaluation_peak_bytes):
            self._meter.start()
            self._evaluates = True

    def resume(self) -> None:
        """What follows is training again."""
        if self._evaluates:
            self._meter.stop()
            self._evaluates = False
        self._meter.resume()

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """What is made inside is data: no part of training."""
        if isinstance(self._meter, AcceleratorMeter):
            self._n_fetched += 1
            with self._meter.fetching() if self._n_fetched <= MEASURED_STEPS else nullcontext():
                yield
            return
        looks = self._watching and isinstance(self._meter, CpuMeter)
        if looks:
            self._meter.stop()
        try:
            yield
        finally:
            if looks:
                self._meter.start()

    def end_epoch(self) -> bool:
        """Whether some step of it was slowed down."""
        was, self._instrumented = self._instrumented or self._watching, False
        if self._watching and self._n_steps == 0:
            self.stop()  # nobody tells of steps: an epoch has to do
        return was

    def elsewhere(self, peak_bytes: int) -> None:
        """Another process of the run has used so much."""
        self.earlier_peak_bytes = max(self.earlier_peak_bytes, peak_bytes)

    @property
    def peak_bytes(self) -> int:
        """The peak of the whole run so far."""
        return max(self.earlier_peak_bytes, self._meter.peak_bytes)

    @property
    def evaluation_peak_bytes(self) -> int | None:
        """The peak of an evaluation; None where none was seen."""
        return max(self.earlier_evaluation_bytes, self._meter.evaluation_peak_bytes) or None

    @property
    def device_bytes(self) -> int | None:
        """What an accelerator lost to this process's part of the run; None on the CPU."""
        return self._meter.device_bytes or None
