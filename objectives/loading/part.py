"""A rank's part of a batch that was loaded as such."""

from __future__ import annotations

from typing import Any


class Part:
    """Stands in a pair for the inputs of a whole batch of `n` examples, of which it holds some."""

    def __init__(self, own: Any, n: int, share: float) -> None:
        """`share`: by how much these count; 0 for those that only keep the other ranks company."""
        self.own, self.share, self._n = own, share, n

    def __len__(self) -> int:
        return self._n
