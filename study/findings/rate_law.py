"""How the best learning rate grows with the batch size: an exponent with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.findings.rates import DRAWS, NotShown, RateEstimate, best_rate, rate_runs
from study.findings.runs import RunRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LAWS = {"square-root scaling": 0.5, "linear scaling": 1.0}
MIN_SIZES = 4
MIN_SPAN = 8  # largest size over smallest
WIDEST = 1.0  # of the exponent's interval: a wider one tells nothing apart
FINEST = 0.05  # decades: no best rate is known better, whatever its interval says
ROBUST = 1.345  # Huber's constant: residuals beyond so many deviations count less
STEPS = 10  # of reweighting


@dataclass(frozen=True, kw_only=True)
class RateLaw:
    """best rate = rate_at_1 * batch_size ** exponent."""

    exponent: float
    low: float  # 95% interval
    high: float
    rate_at_1: float
    n_sizes: int  # fitted
    at_edge: tuple[int, ...]  # sizes left out: their best rate is not bracketed

    @property
    def agrees(self) -> dict[str, bool]:
        """Whether each known law lies in the interval."""
        return {name: self.low <= exponent <= self.high for name, exponent in LAWS.items()}

    def rate(self, batch_size: float, exponent: float | None = None, pivot: float = 1.0) -> float:
        """By this law, or by one of another exponent that agrees with it at `pivot`."""
        slope = self.exponent if exponent is None else exponent
        return self.rate_at_1 * pivot**self.exponent * (batch_size / pivot) ** slope


def rate_estimates(rows: Sequence[RunRow], *, seed: int = 0) -> dict[int, RateEstimate | NotShown]:
    """By batch size, ascending."""
    sizes = sorted({row.batch_size for row in rows})
    return {size: best_rate(*rate_runs(rows, size), seed=seed) for size in sizes}


def rate_law(
    estimates: Mapping[int, RateEstimate | NotShown], *, seed: int = 0
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
            reason=f"{len(known)} batch sizes with a known best rate, wanted {MIN_SIZES}{left_out}"
        )
    if max(known) < MIN_SPAN * min(known):
        return NotShown(
            reason=f"sizes {min(known)} to {max(known)} only, wanted a factor of {MIN_SPAN}"
        )
    x = np.log10(np.array(list(known), dtype=float))  # (K,)
    draws = np.array([e.draws for e in known.values()])  # (K, DRAWS)
    slope, level, slopes = _fit(x, draws, np.random.default_rng(seed))
    low, high = np.quantile(slopes, [0.025, 0.975])
    if high - low > WIDEST:
        return NotShown(
            reason=f"the exponent's interval is {low:.2f} to {high:.2f}, wider than {WIDEST:g}"
            + left_out
        )
    return RateLaw(
        exponent=slope,
        low=float(low),
        high=float(high),
        rate_at_1=10**level,
        n_sizes=len(known),
        at_edge=edges,
    )


def _fit(x: Array, draws: Array, random: np.random.Generator) -> tuple[float, float, Array]:
    """Slope, level, and slopes of DRAWS simulated data sets."""
    import numpy as np

    y, own = draws.mean(axis=1), np.maximum(draws.std(axis=1), FINEST)
    scatter = _scatter(x, y, own)
    weights = 1 / (own**2 + scatter**2)
    slope, level = _huber(x, y[:, None], weights)
    free = len(x) - 2
    # The scatter between sizes is itself known from few of them.
    spread = scatter * np.sqrt(free / random.chisquare(free, DRAWS))
    jitter = random.standard_normal(draws.shape) * np.hypot(spread, FINEST)
    slopes, _ = _huber(x, draws + jitter, weights)
    return float(slope[0]), float(level[0]), slopes


def _scatter(x: Array, y: Array, own: Array) -> float:
    """Deviation between sizes beyond their own uncertainty (DerSimonian and Laird 1986)."""
    import numpy as np

    weights = 1 / own**2
    slope, level = _huber(x, y[:, None], weights)
    off = y - level - slope * x
    bounded = np.minimum(np.abs(off) / own, 3.0)  # one size tuned differently is no scatter
    excess = float((bounded**2).sum()) - (len(x) - 2)
    centred = x - np.average(x, weights=weights)
    leverage = weights / weights.sum() + weights * centred**2 / (weights * centred**2).sum()
    return math.sqrt(max(0.0, excess / float((weights * (1 - leverage)).sum())))


def _huber(x: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Slopes and levels of D data sets `y`, (K, D): weighted least squares, outliers bounded."""
    import numpy as np

    base = np.broadcast_to(weights[:, None], y.shape)
    use, at = base, x[:, None]
    for _ in range(STEPS):
        total = use.sum(axis=0)
        x_mean, y_mean = (use * at).sum(axis=0) / total, (use * y).sum(axis=0) / total
        across, along = (use * (at - x_mean) * (y - y_mean)), use * (at - x_mean) ** 2
        slope = across.sum(axis=0) / along.sum(axis=0)
        level = y_mean - slope * x_mean
        off = np.abs(y - level - slope * at) * np.sqrt(base)
        use = base * np.minimum(1.0, ROBUST / np.maximum(off, ROBUST))
    return slope, level
