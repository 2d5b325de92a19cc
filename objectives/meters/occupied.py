"""What an accelerator really loses to a training run, beside the live bytes of its tensors.

The allocator takes memory from the device in large blocks and keeps them: for data that lies there,
for workspaces, for gaps between tensors. The process's context takes more, which no allocator sees.
"""

from __future__ import annotations

from batchfront.objectives.device.driver import own_memory_bytes

MOST_CONTEXT = 2**30  # bytes; one takes 0.3 to 0.6 GB, and what is held beyond that is others'


class Occupied:
    """Follows one run: the allocator's high-water mark of reserved bytes, and the context.

    Reads the marks; whoever uses it resets them. Blocks that an evaluation has left cannot be told
    from those that training needs: after one that made the allocator reserve more, training's mark
    stays as it was.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._reserved = self._context = 0
        self._at_pause = 0  # bytes
        self._is_known = False  # by now nothing more can be learned

    @property
    def n_bytes(self) -> int:
        """All that the device had lost at the most: data, cache and context included."""
        return self._reserved + self._context

    def start(self) -> None:
        """Begin: what earlier runs left unused goes back to the device."""
        import torch

        torch.accelerator.empty_cache()

    def pause(self) -> None:
        """Look, before an evaluation or at the end. Kernels are loaded by now, in the context."""
        import torch

        if self._is_known:
            return
        device = self._device
        self._at_pause = int(torch.accelerator.memory_reserved(device))
        self._reserved = max(self._reserved, int(torch.accelerator.max_memory_reserved(device)))
        self._context = max(self._context, self._beyond())

    def _beyond(self) -> int:
        """What this process holds besides what its allocator has reserved by now.

        Where the driver does not tell processes apart, all that anybody holds looks the same.
        """
        import torch

        own = own_memory_bytes(self._device)
        if own is not None and own >= self._at_pause:
            return own - self._at_pause
        free, total = torch.accelerator.get_memory_info(self._device)
        beyond = int(total) - int(free) - self._at_pause
        return min(max(beyond, 0), MOST_CONTEXT)

    def resume(self, *, has_begun: bool) -> None:
        """Go on after an evaluation, or after what was made ready before the run `has_begun`."""
        import torch

        if self._is_known or int(torch.accelerator.memory_reserved(self._device)) <= self._at_pause:
            return
        if has_begun:
            self._is_known = True
            return
        self.start()
        self._reserved = 0
