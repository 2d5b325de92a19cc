"""How the best learning rate grows with the batch size: an exponent with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from batchfront.study.findings.rates.best import (
    MIN_RATES,
    NotShown,
    RateEstimate,
    best_rate,
    rate_runs,
)
from batchfront.study.findings.statistics.lines import fit_line
from batchfront.study.trials.rows import RunRow

LAWS = {"square-root scaling": 0.5, "linear scaling": 1.0}
MIN_SIZES = 4
MIN_SPAN = 8  # largest size over smallest
WIDEST = 1.0  # of the exponent's interval: a wider one tells nothing apart
FINEST = 0.05  # decades: no best rate is known better, whatever its interval says


@dataclass(frozen=True, kw_only=True)
class RateLaw:
    """best rate = rate_at_1 * batch_size ** exponent."""

    exponent: float
    low: float  # of its interval, 95% unless asked otherwise
    high: float
    rate_at_1: float
    n_sizes: int  # fitted
    at_edge: tuple[int, ...]  # sizes left out: their best rate is not bracketed

    @property
    def agrees(self) -> dict[str, bool]:
        """Whether each known law lies in the interval."""
        return {name: self.low <= exponent <= self.high for name, exponent in LAWS.items()}

    def rate(self, batch_size: float) -> float:
        """The best learning rate for a batch size, by this law."""
        return float(self.rate_at_1 * batch_size**self.exponent)


def rate_estimates(rows: Sequence[RunRow], *, seed: int = 0) -> dict[int, RateEstimate | NotShown]:
    """The estimate of the best rate for every batch size, ascending, or why it is not shown."""
    sizes = sorted({row.batch_size for row in rows})
    return {size: _estimate_of(rows, size, seed) for size in sizes}


def _estimate_of(rows: Sequence[RunRow], size: int, seed: int) -> RateEstimate | NotShown:
    """The estimate with its trials; where too few rates say something, how many were tried."""
    rates, errors = rate_runs(rows, size)
    found = best_rate(rates, errors, seed=seed)
    here = [row for row in rows if row.batch_size == size and row.finished]
    n_tried, n_known = len({row.learning_rate for row in here}), len(set(rates))
    if isinstance(found, NotShown) and n_known < MIN_RATES and n_known < n_tried:
        have = "has" if n_known == 1 else "have"
        reason = (
            f"{n_tried} learning rates tried, of which {n_known} {have} runs that came to their "
            f"end or failed, wanted at least {MIN_RATES}"
        )
        found = replace(found, reason=reason)
    return replace(found, trials=tuple(row.number for row in here))


def rate_law(
    estimates: Mapping[int, RateEstimate | NotShown], *, confidence: float = 0.95, seed: int = 0
) -> RateLaw | NotShown:
    """Fit a power law to the best rates; each weighs by how well it is known.

    The interval comes from fits to rates drawn from each size's own posterior, plus how far the
    sizes lie off any power law.
    """
    import numpy as np

    known = {b: e for b, e in estimates.items() if isinstance(e, RateEstimate) and not e.at_edge}
    edges = tuple(b for b, e in estimates.items() if isinstance(e, RateEstimate) and e.at_edge)
    left_out = f"; left out, not bracketed: {', '.join(map(str, edges))}" if edges else ""
    if len(known) < MIN_SIZES:
        return NotShown(
            reason=f"{len(known)} batch sizes with a known best rate, wanted {MIN_SIZES}" + left_out
        )
    if max(known) < MIN_SPAN * min(known):
        return NotShown(
            reason=f"sizes {min(known)} to {max(known)} only, wanted a factor of {MIN_SPAN}"
        )
    x = np.log10(np.array(list(known), dtype=float))  # (K,)
    draws = np.array([e.draws for e in known.values()])  # (K, DRAWS)
    line = fit_line(x, draws, finest=FINEST, seed=seed)
    low, high = line.interval(confidence)
    if high - low > WIDEST:
        return NotShown(
            reason=f"the exponent's interval is {low:.2f} to {high:.2f}, wider than {WIDEST:g}"
            + left_out
        )
    return RateLaw(
        exponent=line.slope,
        low=low,
        high=high,
        rate_at_1=10**line.level,
        n_sizes=len(known),
        at_edge=edges,
    )
