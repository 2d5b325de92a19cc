"""Which learning rates a batch size lacks, so that its best one lies between worse ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchfront.study.findings.rates.best import (
    MIN_RATES,
    NotShown,
    RateEstimate,
    rate_runs,
)
from batchfront.study.trials.rows import RunRow

APART = 3.0  # factor between rates that tell something of each other
SAME = 1.5  # factor within which a rate counts as tried


def missing_rates(
    rows: Sequence[RunRow], found: RateEstimate | NotShown, guess: Callable[[], float]
) -> list[float]:
    """The rates to try next at a size that has no run under way; none where its best is bracketed.

    Few rates are made up around a guess, which all sizes have suggested; then one at a time is
    tried beyond the edge on which the best lies. `rows`: the runs of the size; `found`: what they
    say of its best rate.
    """
    if isinstance(found, RateEstimate) and found.edge is None:
        return []
    rates, _ = rate_runs(rows, rows[0].batch_size) if rows else ([], [])
    tried = sorted(set(rates))
    n_missing = MIN_RATES - len(tried)
    if n_missing > 0:
        around = [tidy(guess() * APART**step) for step in (-1, 1, 0, -2, 2)]
        return [rate for rate in around if not _is_near(rate, tried)][:n_missing]
    if isinstance(found, NotShown):  # all failed: rates were too high, as a rule
        return [tidy(tried[0] / APART)]
    return [tidy(tried[0] / APART if found.edge == "low" else tried[-1] * APART)]


def _is_near(rate: float, tried: Sequence[float]) -> bool:
    return any(max(rate / other, other / rate) <= SAME for other in tried)


def tidy(rate: float) -> float:
    """Two digits: what a person would type."""
    return float(f"{rate:.2g}")
