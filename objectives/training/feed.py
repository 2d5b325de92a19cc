"""Batches of a training split, in the same shuffled order whichever way they are kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.hardware import device_memory_bytes
from batchfront.objectives.training.order import Order

if TYPE_CHECKING:
    import torch
    from torch import Tensor

RESIDENT_SHARE = 0.5  # of the device's memory that data and its shuffled copy may take
LOADER_WORKERS = 0  # indexing a tensor is cheap; processes would cost more than they save

Batches = Iterable[tuple["Tensor", "Tensor"]]  # x: (B, ...), y: (B,) or (B, K)


def make_feed(x: Tensor, y: Tensor, *, device: str) -> ResidentFeed | LoaderFeed:
    """Resident on the device where data and a shuffled copy fit, else from host memory."""
    n_bytes = 2 * (x.nbytes + y.nbytes)
    if n_bytes <= RESIDENT_SHARE * device_memory_bytes(device):
        return ResidentFeed(x, y, device=device)
    return LoaderFeed(x, y, device=device)


class ResidentFeed:
    """Data lives on the device; one gather per epoch, then batches are views without a copy."""

    def __init__(self, x: Tensor, y: Tensor, *, device: str) -> None:
        import torch

        self._x, self._y = x.to(device), y.to(device)
        self._x_shuffled, self._y_shuffled = torch.empty_like(self._x), torch.empty_like(self._y)
        self._order = Order(len(x), device=device)

    def epoch(self, batch_size: int, order: torch.Generator) -> Batches:
        """Every example once; the last batch may be smaller."""
        import torch

        permutation = self._order.draw(order)
        torch.index_select(self._x, 0, permutation, out=self._x_shuffled)
        torch.index_select(self._y, 0, permutation, out=self._y_shuffled)
        parts = (self._x_shuffled.split(batch_size), self._y_shuffled.split(batch_size))
        return zip(*parts, strict=True)


class LoaderFeed:
    """Data stays in host memory; a DataLoader gathers batches, pinned where that speeds copies."""

    def __init__(self, x: Tensor, y: Tensor, *, device: str) -> None:
        from torch.utils.data import TensorDataset

        self._device = device
        self._data: Any = TensorDataset(x, y)
        self._order = Order(len(x))

    def epoch(self, batch_size: int, order: torch.Generator) -> Batches:
        """Every example once; the last batch may be smaller."""
        from torch.utils.data import DataLoader

        permutation = self._order.draw(order)
        loader: DataLoader[Any] = DataLoader(
            self._data,
            sampler=permutation.split(batch_size),
            batch_size=None,
            pin_memory=self._device.startswith("cuda"),
            num_workers=LOADER_WORKERS,
        )
        for x, y in loader:
            yield x.to(self._device, non_blocking=True), y.to(self._device, non_blocking=True)
