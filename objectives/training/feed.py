"""Batches of a training split, in a given order whichever way the data is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from batchfront.objectives.device.hardware import free_memory, is_out_of_memory, usable_memory_bytes

if TYPE_CHECKING:
    from torch import Tensor

Kept = TypeVar("Kept")

RESIDENT_SHARE = 0.5  # of the memory there is that data and its shuffled copy may take
LOADER_WORKERS = 0  # indexing a tensor is cheap; processes would cost more than they save

Batches = Iterable[tuple[Any, Any]]  # tensors, x: (B, ...), y: (B,) or (B, K); or see `Form`


def make_feed(
    x: Tensor, y: Tensor, *, device: str, on_disk: bool = False
) -> ResidentFeed | LoaderFeed:
    """Resident on the device where data and a shuffled copy fit, else from host memory, or disk."""
    n_bytes = 2 * (x.nbytes + y.nbytes)
    made = None
    if not on_disk:
        made = _if_it_fits(lambda: ResidentFeed(x, y, device=device), n_bytes, device)
    return made or LoaderFeed(x, y, device=device)


def kept_on(device: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A split that is gone through again and again: on the device where it fits, else as it is."""
    moved = _if_it_fits(lambda: (x.to(device), y.to(device)), x.nbytes + y.nbytes, device)
    return moved or (x, y)


def _if_it_fits(make: Callable[[], Kept], n_bytes: int, device: str) -> Kept | None:
    """What `make` makes of so many bytes; None where they are too many for the device."""
    if n_bytes > RESIDENT_SHARE * usable_memory_bytes(device):
        return None
    try:
        return make()
    except BaseException as error:  # others may have taken it meanwhile
        if not is_out_of_memory(error):
            raise
        free_memory(error)
    return None


class ResidentFeed:
    """Data lives on the device; one gather per epoch, then batches are views without a copy."""

    def __init__(self, x: Tensor, y: Tensor, *, device: str) -> None:
        import torch

        self._x, self._y = x.to(device), y.to(device)
        self._x_shuffled, self._y_shuffled = torch.empty_like(self._x), torch.empty_like(self._y)
        self._examples = torch.empty(len(x), dtype=torch.int64, device=device)

    @property
    def examples(self) -> tuple[Tensor, Tensor]:
        """All of them, in their order."""
        return self._x, self._y

    @property
    def numbers_each(self) -> int:
        """Numbers that an example has."""
        return (self._x.numel() + self._y.numel()) // len(self._x)

    def gathered(self, examples: Tensor) -> tuple[Tensor, Tensor]:
        """The examples of these indices, int64 of any shape, in memory of their own."""
        here, shape = examples.to(self._x.device).flatten(), examples.shape
        x, y = self._x.index_select(0, here), self._y.index_select(0, here)
        return x.view(*shape, *x.shape[1:]), y.view(*shape, *y.shape[1:])

    def epoch(self, examples: Tensor, batch_size: int) -> Batches:
        """The examples of these indices, (n,) int64, in batches; the next ones overwrite them."""
        import torch

        n = len(self._x)
        # What an epoch before left over may make one batch more than there is room for at once.
        room = n if len(examples) <= n else n // batch_size * batch_size
        for some in examples.split(room):
            here = self._examples[: len(some)].copy_(some)
            x, y = self._x_shuffled[: len(some)], self._y_shuffled[: len(some)]
            torch.index_select(self._x, 0, here, out=x)
            torch.index_select(self._y, 0, here, out=y)
            yield from zip(x.split(batch_size), y.split(batch_size), strict=True)


class LoaderFeed:
    """Data stays in host memory; a DataLoader gathers batches, pinned where that speeds copies."""

    def __init__(self, x: Tensor, y: Tensor, *, device: str) -> None:
        from torch.utils.data import TensorDataset

        self._device = device
        self._data: Any = TensorDataset(x, y)

    def epoch(self, examples: Tensor, batch_size: int) -> Batches:
        """The examples of these indices, (n,) int64, in batches."""
        from torch.utils.data import DataLoader

        loader: DataLoader[Any] = DataLoader(
            self._data,
            sampler=examples.split(batch_size),
            batch_size=None,
            pin_memory=self._device.startswith("cuda"),
            num_workers=LOADER_WORKERS,
        )
        for x, y in loader:
            yield x.to(self._device, non_blocking=True), y.to(self._device, non_blocking=True)
