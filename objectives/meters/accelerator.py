"""Peak memory of training on an accelerator: read from its caching allocator."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from batchfront.objectives.meters.occupied import Occupied


class AcceleratorMeter:
    """Reads the caching allocator's own high-water marks; free of cost."""

    slows_down = False

    def __init__(self, device: str, *, compiled: bool = False) -> None:
        self.evaluation_peak_bytes = 0
        self._peak = 0  # up to the last pause
        self._device = device
        self._compiled = compiled
        self._baseline = self._batch = 0  # bytes
        self._paused = True
        self._occupied = Occupied(device)

    @property
    def device_bytes(self) -> int:
        """What the device had lost by the last pause, or at the end."""
        return self._occupied.n_bytes

    @property
    def peak_bytes(self) -> int:
        """The high-water mark of training so far, above the baseline."""
        return self._peak if self._paused else max(self._peak, self._mark())

    def start(self) -> None:
        import torch

        gc.collect()
        if self._compiled:
            _forget_graphs()
        self._occupied.start()
        if not self._compiled:
            # The first matrix product allocates BLAS workspaces that belong to no model.
            warm = torch.ones(8, 8, device=self._device, requires_grad=True)
            (warm @ warm).sum().backward()
            del warm
        torch.accelerator.synchronize(self._device)
        self._baseline = torch.accelerator.memory_allocated(self._device)
        torch.accelerator.reset_peak_memory_stats(self._device)
        self._paused = False

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """What is made inside and lives on is a batch of data, which peaks from here on leave out.

        On a device where all data lies batches take no memory of their own, and peaks are the same.
        """
        import torch

        if self._paused:
            yield
            return
        self._peak = max(self._peak, self._high())
        before = int(torch.accelerator.memory_allocated(self._device))
        yield
        made = int(torch.accelerator.memory_allocated(self._device)) - before
        self._batch = max(self._batch, made)
        torch.accelerator.reset_peak_memory_stats(self._device)

    def pause(self) -> None:
        if not self._paused:
            self._occupied.pause()  # before the marks are reset
            self._peak = max(self._peak, self._high())
            self._paused = True

    def resume(self) -> None:
        if self._paused:
            self._occupied.resume(has_begun=self._peak > 0)
            high = self._high() + self._batch  # training's are gone by then
            self.evaluation_peak_bytes = max(self.evaluation_peak_bytes, high)
            self._paused = False

    def _high(self) -> int:
        """The mark since the last time, above the baseline."""
        import torch

        high = self._mark()
        torch.accelerator.reset_peak_memory_stats(self._device)
        return high

    def _mark(self) -> int:
        import torch

        most = int(torch.accelerator.max_memory_allocated(self._device))
        return most - self._baseline - self._batch

    def stop(self) -> None:
        self.pause()


def _forget_graphs() -> None:
    """Let a compiled step record its CUDA graph anew, in memory that is counted.

    A replay allocates nothing: with a graph of an earlier run, activations would show in no peak.
    Recording frees the BLAS workspaces first, so that they must not be part of the baseline. Both
    calls are private to torch, which has no public ones.
    """
    import torch
    from torch._inductor.cudagraph_trees import reset_cudagraph_trees

    reset_cudagraph_trees()
    torch._C._cuda_clearCublasWorkspaces()
