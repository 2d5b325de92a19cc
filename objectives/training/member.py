"""What our loop must know of several processes that train one run together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run


class Member(Protocol):
    """One of several ranks that train each run together."""

    @property
    def rank(self) -> int:
        """0 where the run is judged."""

    def take_part(self, train: Callable[[], None], params: TrialParams, run: Run) -> None:
        """Train, beside the others."""

    def part_of(self, n: int) -> tuple[slice, float]:
        """Examples of a batch of `n` that it trains on, and by how much they count."""

    def decided(self, look: Callable[[], bool]) -> bool:
        """What the rank that judges the run has found by looking."""
