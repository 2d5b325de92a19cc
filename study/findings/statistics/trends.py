"""Rank statistics with permutation tests and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

PERMUTATIONS = 4000
RESAMPLES = 1000
MIN_WITHIN = 5  # runs of a group, for a correlation within it

Pairs = Sequence[tuple[float, float]]
Interval = tuple[float, float, float]  # estimate, low, high


def rank_trend(groups: Mapping[int, Sequence[float]], *, seed: int) -> tuple[float, float]:
    """Spearman correlation of the values with their group's key, and its two-sided p.

    Runs are exchanged between groups: where the key did not matter, any would be as likely. Ties
    share their mean rank.
    """
    import numpy as np
    from scipy.stats import rankdata

    x = rankdata([key for key, values in groups.items() for _ in values])
    y = rankdata([value for values in groups.values() for value in values])
    random = np.random.default_rng(seed)
    found = float(_correlation(x[None], y[None])[0])
    shuffled = random.permuted(np.broadcast_to(y, (PERMUTATIONS, len(y))), axis=1)
    at_least = np.abs(_correlation(x[None], shuffled)) >= abs(found) - 1e-12
    return found, float((1 + at_least.sum()) / (1 + PERMUTATIONS))


def _correlation(x: Array, y: Array) -> Array:
    """(P,) The correlation of each row of x with that of y, (P, N); 0 where either is constant."""
    import numpy as np

    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    product: Array = (x * y).sum(axis=-1) / np.where(scale > 0, scale, 1.0)
    return product


def rank_correlation(groups: Sequence[Pairs], confidence: float, *, seed: int) -> Interval:
    """The rank correlation over all groups' pairs; the bootstrap keeps the size of each group."""
    import numpy as np

    return _interval(_spearman(np.concatenate(_resampled(groups, seed), axis=1)), confidence)


def within_correlation(groups: Sequence[Pairs], confidence: float, *, seed: int) -> Interval | None:
    """The rank correlation within groups, weighted by size; None where all groups are too small."""

    import numpy as np

    large = [pairs for pairs in groups if len(pairs) >= MIN_WITHIN]
    if not large:
        return None
    parts = _resampled(large, seed)
    found: Array = np.sum([part.shape[1] * _spearman(part) for part in parts], axis=0)
    return _interval(found / sum(map(len, large)), confidence)


def _resampled(groups: Sequence[Pairs], seed: int) -> list[Array]:
    """Each group's pairs, (1 + RESAMPLES, N, 2): first as they are, then drawn again."""
    import numpy as np

    random = np.random.default_rng(seed)
    parts = []
    for pairs in groups:
        n = len(pairs)
        picked = np.vstack([np.arange(n), random.integers(0, n, (RESAMPLES, n))])
        parts.append(np.array(pairs, dtype=float)[picked])
    return parts


def _spearman(pairs: Array) -> Array:
    """(R,) The rank correlation of each resample of pairs, (R, N, 2)."""
    from scipy.stats import rankdata

    ranks = rankdata(pairs, axis=1)
    return _correlation(ranks[..., 0], ranks[..., 1])


def _interval(found: Array, confidence: float) -> Interval:
    """`found`: the estimate, then its resamples."""
    import numpy as np

    tail = (1 - confidence) / 2
    low, high = np.quantile(found[1:], [tail, 1 - tail])
    return float(found[0]), float(low), float(high)


def mean_interval(draws: Array, confidence: float) -> tuple[float, float]:
    """The interval of the mean of K differences, (K, D) drawn, by their errors and scatter.

    Student's interval of the K means, or what their own deviations say, whichever is wider: K is
    small, and its means may lie close together by chance.
    """
    import numpy as np
    from scipy.stats import norm, t

    k = len(draws)
    means = draws.mean(axis=1)
    own = float(np.sqrt(draws.var(axis=1).mean() / k))
    between = float(means.std(ddof=1) / np.sqrt(k))
    tail = (1 - confidence) / 2
    radius = max(norm.ppf(1 - tail) * own, t.ppf(1 - tail, k - 1) * between)
    return float(means.mean() - radius), float(means.mean() + radius)
