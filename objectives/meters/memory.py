"""Peak memory of training: high-water bytes of live tensors, minus what lived before the model.

Resident set size is of no use here: it is blind at small batches, and its maximum never falls, so
later trials inherit the peaks of earlier ones.

A model in a reference cycle (a forward hook that is its own method) outlives its run, and dies
while the next one is measured, to which its bytes would be credited: meters that see every byte of
the process collect garbage before they take their baseline.
"""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from batchfront.objectives.meters.accelerator import AcceleratorMeter

# Adam's state appears in step 1, so the peak stands in a later step; by the older rule of batches
# step 2 may be the last of its epoch, with few examples.
MEASURED_STEPS = 3


class MemoryMeter(Protocol):
    """Follows one run from before its model exists."""

    slows_down: bool  # it costs time at every operator

    @property
    def peak_bytes(self) -> int:
        """The high-water mark of training so far."""

    @property
    def evaluation_peak_bytes(self) -> int:
        """The high-water mark within pauses; 0 where none was seen."""

    @property
    def device_bytes(self) -> int | None:
        """What an accelerator lost to training at the most; None on the CPU."""

    def start(self) -> None:
        """Begin, before the model is built."""

    def pause(self) -> None:
        """What follows is evaluation, which has a peak of its own."""

    def resume(self) -> None:
        """What follows is training again."""

    def stop(self) -> None:
        """End; safe to call twice."""


def memory_meter(device: str, *, compiled: bool = False) -> MemoryMeter:
    """The meter for a torch device."""
    if device.startswith("cpu"):
        return AllocatorMeter() if compiled else CpuMeter()
    return AcceleratorMeter(device, compiled=compiled)


def _storages(values: Iterable[Any]) -> Iterable[Any]:
    import torch

    for value in values:
        if isinstance(value, torch.Tensor) and value.layout == torch.sparse_coo:
            yield from _storages((value._indices(), value._values()))  # of an uncoalesced one, too
        elif isinstance(value, torch.Tensor):
            yield value.untyped_storage()
        elif isinstance(value, list | tuple):
            yield from _storages(value)
        elif isinstance(value, dict):
            yield from _storages(value.values())


class NoMeter:
    """A meter that measures nothing, for runs whose peak is known already."""

    peak_bytes = evaluation_peak_bytes = 0
    device_bytes = None
    slows_down = False

    def start(self) -> None:
        pass

    pause = resume = stop = start


class CpuMeter:
    """Adds up storages that operators create, from weak references; deterministic.

    Sees every operator, so it slows steps down: `Run` stops it after `MEASURED_STEPS` steps and
    leaves those out of the clock. Scratch memory inside an operator is invisible (up to 8% for a
    convolution at batch size 1).
    """

    slows_down = True
    device_bytes = None

    def __init__(self, *, granularity: int = 1) -> None:
        self.peak_bytes = self.evaluation_peak_bytes = 0
        self._granularity = granularity  # an allocator's rounding: CUDA's is 512 bytes
        self._live_bytes = 0
        self._unseen_bytes = 0  # what lives by then of what was made between stop and start
        self._at_stop = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self._paused = False
        self._mode: Any = None

    def start(self) -> None:
        from torch.utils._python_dispatch import TorchDispatchMode

        meter = self
        # Gradients are made anew at every step: those of the last one live, and were not seen.
        self._unseen_bytes = max(0, self._at_stop - self._live_bytes)

        class Tracker(TorchDispatchMode):
            def __torch_dispatch__(
                self, func: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                kwargs = kwargs or {}
                result = func(*args, **kwargs)
                meter._count(result, (args, kwargs))
                return result

        self._mode = Tracker()  # type: ignore[no-untyped-call]  # torch's annotation
        self._mode.__enter__()

    def _count(self, result: Any, inputs: Any) -> None:
        given = None
        for storage in _storages((result,)):
            if storage in self._known:
                continue
            if given is None:
                given = list(_storages(inputs))
            # A view of, or an in-place write to, memory that was there before is not new memory.
            if not any(storage is other for other in given):
                self._add(storage)

    def _add(self, storage: Any) -> None:
        n_bytes = -(-storage.nbytes() // self._granularity) * self._granularity
        self._known.add(storage)
        self._live_bytes += n_bytes
        self._note_peak()
        weakref.finalize(storage, self._drop, n_bytes).atexit = False

    def _drop(self, n_bytes: int) -> None:
        self._live_bytes -= n_bytes

    def _note_peak(self) -> None:
        if self._paused:
            high = self._live_bytes + self._unseen_bytes
            self.evaluation_peak_bytes = max(self.evaluation_peak_bytes, high)
        else:
            self.peak_bytes = max(self.peak_bytes, self._live_bytes)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._note_peak()

    def stop(self) -> None:
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None
            self._at_stop = self._live_bytes


class AllocatorMeter:
    """Adds up what the CPU allocator tells torch's profiler; for compiled steps.

    They allocate without calling an operator, so `CpuMeter` cannot see them: worse, torch would
    not run them as compiled under it.
    """

    slows_down = True
    evaluation_peak_bytes = 0  # it ends before there is one
    device_bytes = None
    PAUSE = "batchfront: not counted"

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._profile: Any = None
        self._pause: Any = None

    def start(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        gc.collect()
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        with _no_stderr():
            self._profile.__enter__()

    def pause(self) -> None:
        from torch.profiler import record_function

        self._pause = record_function(self.PAUSE)  # on the clock that allocations are stamped with
        self._pause.__enter__()

    def resume(self) -> None:
        self._pause.__exit__(None, None, None)
        self._pause = None

    def stop(self) -> None:
        if self._profile is None:
            return
        if self._pause is not None:
            self.resume()
        with _no_stderr():
            self._profile.__exit__(None, None, None)
        # Allocations outside of operators stand in no public list of the profiler.
        self.peak_bytes = _peak_of(self._profile.profiler.kineto_results.events(), self.PAUSE)
        self._profile = None


@contextmanager
def _no_stderr() -> Iterator[None]:
    """The profiler's library writes its stages to file descriptor 2, whatever its log level."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _peak_of(events: Iterable[Any], pause: str) -> int:
    """High-water mark of the allocations among profiler events, outside of the pauses."""
    moments: list[tuple[int, int, int]] = []  # time, change of bytes, change of pauses
    for event in events:
        if event.name() == "[memory]":
            moments.append((event.start_ns(), event.nbytes(), 0))
        elif event.name() == pause:
            moments += [(event.start_ns(), 0, 1), (event.end_ns(), 0, -1)]
    live = peak = pauses = 0
    for _, n_bytes, change in sorted(moments, key=lambda moment: moment[0]):
        live += n_bytes
        pauses += change
        if pauses == 0:
            peak = max(peak, live)
    return peak
