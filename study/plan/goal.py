"""When a search has reached its end: so many trials, or as many as are worth it, or a budget."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_TRIALS, MOST_TRIALS = 12, 150
"""Of a search that ends by itself. With fewer a surface is a guess; with more it is slow."""
USUAL_TRIALS = 30  # where nobody says anything
BETWEEN = 25, 80  # trials in which most searches that end by themselves do, on recorded tables


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a search is to reach."""

    n_trials: int = USUAL_TRIALS  # the greatest number, whoever ran them
    is_auto: bool = False  # it ends before that, where more trials are expected to gain little
    budget: float | None = None  # seconds
    is_total: bool = False  # of everything, probes included; else of training alone

    @property
    def is_open(self) -> bool:
        """Whether nobody knows how many trials there will be."""
        return self.is_auto or self.budget is not None
