"""Rank correlations with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RESAMPLES = 1000
MOST_DRAWN, FEWEST = 4_000_000, 200
"""Values drawn in all, and resamples at least: what is found in many runs needs
fewer of them to be as sure."""
AT_ONCE = 1_000_000  # values in memory
MIN_WITHIN = 5  # runs of a group, for a correlation within it

Pairs = Sequence[tuple[float, float]]
Interval = tuple[float, float, float]  # estimate, low, high


def _portions(n_wanted: int, n_values: int) -> Iterator[int]:
    """How many resamples of so many values to make, a portion at a time."""
    left = min(n_wanted, max(FEWEST, MOST_DRAWN // n_values))
    while left > 0:
        portion = min(left, max(1, AT_ONCE // n_values))
        yield portion
        left -= portion


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

    found = [_spearman(np.concatenate(parts, axis=1)) for parts in _resampled(groups, seed)]
    return _interval(np.concatenate(found), confidence)


def within_correlation(groups: Sequence[Pairs], confidence: float, *, seed: int) -> Interval | None:
    """The rank correlation within groups, weighted by size; None where all groups are too small."""

    import numpy as np

    large = [pairs for pairs in groups if len(pairs) >= MIN_WITHIN]
    if not large:
        return None
    found: list[Array] = [
        np.sum([part.shape[1] * _spearman(part) for part in parts], axis=0)
        for parts in _resampled(large, seed)
    ]
    return _interval(np.concatenate(found) / sum(map(len, large)), confidence)


def _resampled(groups: Sequence[Pairs], seed: int) -> Iterator[list[Array]]:
    """Portions of each group's pairs, (R, N, 2): first as they are, then drawn again."""
    import numpy as np

    random = np.random.default_rng(seed)
    known = [np.array(pairs, dtype=float) for pairs in groups]
    as_they_are = [np.arange(len(pairs))[None] for pairs in known]
    for n in _portions(RESAMPLES, sum(map(len, known))):
        picked = [random.integers(0, len(pairs), (n, len(pairs))) for pairs in known]
        rows = [np.vstack(both) for both in zip(as_they_are, picked, strict=True)]
        as_they_are = [first[:0] for first in as_they_are]  # once
        yield [pairs[row] for pairs, row in zip(known, rows, strict=True)]


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
