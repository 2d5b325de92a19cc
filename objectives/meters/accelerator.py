"""Peak memory of training on an accelerator: read from its caching allocator."""

from __future__ import annotations

import gc

from batchfront.objectives.meters.occupied import Occupied


class AcceleratorMeter:
    """Reads the caching allocator's own high-water marks; free of cost."""

    slows_down = False

    def __init__(self, device: str, *, compiled: bool = False) -> None:
        self.evaluation_peak_bytes = 0
        self._peak = 0  # up to the last pause
        self._device = device
        self._compiled = compiled
        self._baseline = 0
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

    def pause(self) -> None:
        if not self._paused:
            self._occupied.pause()  # before the marks are reset
            self._peak = max(self._peak, self._high())
            self._paused = True

    def resume(self) -> None:
        if self._paused:
            self._occupied.resume(has_begun=self._peak > 0)
            self.evaluation_peak_bytes = max(self.evaluation_peak_bytes, self._high())
            self._paused = False

    def _high(self) -> int:
        """The mark since the last time, above the baseline."""
        import torch

        high = self._mark()
        torch.accelerator.reset_peak_memory_stats(self._device)
        return high

    def _mark(self) -> int:
        import torch

        return int(torch.accelerator.max_memory_allocated(self._device)) - self._baseline

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
