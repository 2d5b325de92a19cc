"""The examples of a split, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[Any, Any]  # inputs and targets, each with a first dimension, cut alike


class Examples(Protocol):
    """A split that can be gone through, or drawn from."""

    def __len__(self) -> int: ...

    def at(self, indices: Tensor) -> Pair:
        """The examples of these indices, (n,) int64, as training has them.

        Raises:
            ObjectiveError: they have no index.
        """

    def parts(self, size: int) -> Iterable[Pair]:
        """All of them in their order, at most `size` at a time."""

    def loader(self, size: int, *, device: str) -> Any:
        """The same on a device, for code of the user's own: batches as they were given."""


class Tensors:
    """Examples in memory."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def at(self, indices: Tensor) -> Pair:
        """The examples of these indices, (n,) int64."""
        kept_at = indices.to(self.x.device)
        return self.x[kept_at], self.y[kept_at]

    def parts(self, size: int) -> Iterable[Pair]:
        """All of them in their order, at most `size` at a time."""
        return zip(self.x.split(size), self.y.split(size), strict=True)

    def loader(self, size: int, *, device: str) -> Any:
        """The same on a device."""
        return [(x.to(device), y.to(device)) for x, y in self.parts(size)]
