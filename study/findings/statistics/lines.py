"""A straight line through one uncertain figure per batch size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ROBUST = 1.345  # Huber's constant: residuals beyond so many deviations count less
STEPS = 10  # of reweighting


@dataclass(frozen=True, kw_only=True)
class Line:
    """level + slope * x, and how well the slope is known."""

    slope: float
    level: float
    slopes: Array  # (D,) of simulated data sets
    off: float = 0.0  # the slope's deviation by how far the figures lie off the line alone
    free: int = 1  # degrees of freedom of that

    def interval(self, confidence: float, *, strict: bool = False) -> tuple[float, float]:
        """Around the slope, symmetric.

        At least Student's, because few figures may hide how much they scatter: of twice the chance
        to err, or of that very chance where `strict`.
        """
        import numpy as np
        from scipy.stats import t

        radius = float(np.quantile(np.abs(self.slopes - self.slope), confidence))
        share = (1 + confidence) / 2 if strict else confidence
        radius = max(radius, self.off * float(t.ppf(share, self.free)))
        return self.slope - radius, self.slope + radius


def fit_line(x: Array, draws: Array, *, finest: float, seed: int) -> Line:
    """`x`: (K,); `draws`: (K, D) from what is known of each figure, independently.

    Robust weighted least squares. Each figure weighs by its own deviation, at least `finest`, and
    by how far figures scatter around any line; the interval comes from fits to the draws.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    y, own = draws.mean(axis=1), np.maximum(draws.std(axis=1), finest)
    scatter = _scatter(x, y, own)
    weights = 1 / (own**2 + scatter**2)
    slope, level = _huber(x, y[:, None], weights)
    free = len(x) - 2
    # The scatter is itself known from few figures.
    spread = scatter * np.sqrt(free / random.chisquare(free, draws.shape[1]))
    jitter = random.standard_normal(draws.shape) * np.hypot(spread, finest)
    slopes, _ = _huber(x, draws + jitter, weights)
    off = float(((y - level - slope * x) ** 2).sum()) / free / float(((x - x.mean()) ** 2).sum())
    return Line(
        slope=float(slope[0]),
        level=float(level[0]),
        slopes=slopes,
        off=math.sqrt(off),
        free=free,
    )


def _scatter(x: Array, y: Array, own: Array) -> float:
    """Deviation around the line beyond their own uncertainty (DerSimonian and Laird 1986)."""
    import numpy as np

    weights = 1 / own**2
    slope, level = _huber(x, y[:, None], weights)
    off = y - level - slope * x
    bounded = np.minimum(np.abs(off) / own, 3.0)  # one outlier is no scatter
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
