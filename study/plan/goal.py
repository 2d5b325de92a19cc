"""When a search has reached its end, besides a number of trials."""

from __future__ import annotations

from dataclasses import dataclass

USUAL_TRIALS = 30  # where nobody says anything
LEAST_TRIALS, MOST_TRIALS = 12, 150
"""Of a search that ends by itself. With fewer trials a surface is a guess."""
BETWEEN = 30, 80  # trials in which most searches that end by themselves do, on recorded tables


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What ends a search before its greatest number of trials; nothing, unless it is said."""

    is_auto: bool = False  # that more trials are expected to gain little
    budget: float | None = None  # seconds of all runs together
    is_total: bool = False  # of the budget: everything counts, probes too; else training alone

    @property
    def is_open(self) -> bool:
        """Whether nobody knows how many trials there will be."""
        return self.is_auto or self.budget is not None


ALL_TRIALS = Goal()
