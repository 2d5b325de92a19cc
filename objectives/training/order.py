"""The order of an epoch's examples, drawn into memory that no run is charged for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Order:
    """Made once, before any run's memory is measured.

    A permutation takes 8 bytes an example: drawn anew within a run, it would be what small models
    are told to need.
    """

    def __init__(self, n: int, *, device: str = "cpu") -> None:
        import torch

        self._drawn = torch.empty(n, dtype=torch.int64)
        self._there = self._drawn.to(device)  # the same one on the CPU

    def draw(self, order: torch.Generator) -> Tensor:
        """A random permutation, (N,), that holds until the next one is drawn."""
        import torch

        torch.randperm(len(self._drawn), generator=order, out=self._drawn)
        if self._there is not self._drawn:
            self._there.copy_(self._drawn)
        return self._there
