"""The best learning rate of one batch size, with an interval, from its runs.

Log error over log rate is a Gaussian process (Matern 5/2). Its scales and its noise are not fitted
but averaged over a grid, each by its posterior weight: a handful of single runs says little about
them, and an interval that takes them for known would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import FAILED
from batchfront.study.machine.threads import one_blas_thread
from batchfront.study.show import counted
from batchfront.study.trials.rows import RunRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

USELESS = 1.0  # error of a failed run, where none that completed has more
TIE = 0.005  # added to errors before their log: below it, differences are a few examples
CAP = 2.5  # of log error above the best: a failure is a cliff, a smooth process rings around it
WITHIN = 0.01  # of accuracy: rates that lose no more are usable
MIN_RATES = 3
CLEARLY = 0.9  # probability with which an end of the tried range must be worse than the best
FAILED_NOISE = 1.0  # variance of a failed run's log error, beyond that between seeds

GRID = 81  # rates at which the curve is drawn
MOST_RATES = 100
"""Rates told apart, a twentieth of a decade in a usual range: time grows with their cube. More are
gathered into as many, far below the finest of the scales."""
DRAWS = 500
SAME = 1e-9  # decades
SCALES = (0.3, 0.5, 0.8, 1.3)  # decades of the learning rate
AMPLITUDES = (0.5, 1.0, 2.0)  # deviation of log error
NOISES = (0.03, 0.06, 0.12, 0.25, 0.5)  # deviation of log error between seeds
USUAL_NOISE, NOISE_SPREAD = math.log(0.1), 0.7  # a normal prior on its log
NEGLIGIBLE = 0.02  # of the most probable combination
LEVEL = 3.0  # deviation of the curve's unknown level


@dataclass(frozen=True, kw_only=True)
class NotShown:
    """The data do not say it."""

    reason: str
    trials: tuple[int, ...] = ()  # numbers of the runs that say too little


@dataclass(frozen=True, kw_only=True)
class RateEstimate:
    """What the runs of one batch size say about its learning rate."""

    best: float
    low: float  # of the 95% interval of the best
    high: float
    error: float  # at the best of the tried rates, smoothed
    edge: str | None  # "low" or "high": not clearly worse at that end of the tried range
    usable: tuple[float, float]  # rates within WITHIN of the best, as far as tried
    usable_decades: tuple[float, float]  # 95% interval of its width
    tried: tuple[float, float]
    n_runs: int
    n_rates: int
    trials: tuple[int, ...] = ()  # numbers of the runs
    draws: Array = field(repr=False, compare=False)
    """(DRAWS,) log10 of the best rate, from the posterior: what the interval was made of."""
    width_draws: Array = field(repr=False, compare=False)  # (DRAWS,) decades that are usable
    error_draws: Array = field(repr=False, compare=False)  # (DRAWS,) error at that rate

    @property
    def at_edge(self) -> bool:
        """The best is not bracketed by worse rates on both sides."""
        return self.edge is not None

    @property
    def is_cut(self) -> bool:
        """The usable range reaches an end of what was tried."""
        return self.usable[0] <= self.tried[0] or self.usable[1] >= self.tried[1]

    @property
    def decades(self) -> float:
        """Width of the usable range."""
        return math.log10(self.usable[1] / self.usable[0])


def rate_runs(rows: Sequence[RunRow], batch_size: int) -> tuple[list[float], list[float]]:
    """Rates and errors of the runs at a size that ended by themselves or failed: these infinite.

    A run that was stopped because others were ahead has no final error, and is left out.
    """
    here = [row for row in rows if row.batch_size == batch_size and row.finished]
    seen = [(row.learning_rate, _error(row)) for row in here]
    known = [(rate, error) for rate, error in seen if error is not None]
    return [rate for rate, _ in known], [error for _, error in known]


def _error(row: RunRow) -> float | None:
    if row.verdict in FAILED:
        return math.inf
    return None if row.metric is None else 1 - row.metric


def best_rate(
    rates: Sequence[float], errors: Sequence[float], *, seed: int = 0
) -> RateEstimate | NotShown:
    """The best learning rate of runs, one rate and final error (1 - standard value) each.

    An error that is not finite is that of a failed run. Others may well be above 1, as of every
    second run where the metric is a loss. `seed` is of the draws.
    """
    import numpy as np

    x = np.log10(np.asarray(rates, dtype=float))
    error = np.asarray(errors, dtype=float)
    error = np.where(np.isfinite(error), np.maximum(error, 0.0), math.inf)
    n_rates = len(np.unique(x))
    if n_rates < MIN_RATES:
        tried = counted(n_rates, "learning rate")
        return NotShown(reason=f"{tried} tried, wanted at least {MIN_RATES}")
    if np.isinf(error).all():
        return NotShown(reason=f"all {len(x)} runs failed")
    gathered = x if n_rates <= MOST_RATES else _gathered(x)
    return _estimate(gathered, error, n_rates, np.random.default_rng(seed))


def _gathered(x: Array) -> Array:
    """The rates with neighbours at their mean; both ends of the tried range stay as they are."""
    import numpy as np

    low, high = x.min(), x.max()
    cells = np.linspace(low, high, MOST_RATES - 1)[1:-1]  # their bounds
    cell = np.digitize(x, cells) + 1
    cell[x == low], cell[x == high] = 0, MOST_RATES - 1
    n = np.maximum(np.bincount(cell, minlength=MOST_RATES), 1)
    means = np.bincount(cell, x, minlength=MOST_RATES) / n
    means[0], means[-1] = low, high
    gathered: Array = means[cell]
    return gathered


@one_blas_thread()
def _estimate(x: Array, error: Array, n_rates: int, random: np.random.Generator) -> RateEstimate:
    """`x`: log10 rates; `n_rates`: how many of them were tried."""
    import numpy as np

    tried = np.unique(x)
    at = np.linspace(tried[0], tried[-1], GRID)
    mean, curves = _posterior(x, error, at, random)
    lowest = int(mean.argmin())
    index = np.rint((tried - at[0]) / (at[1] - at[0])).astype(int)  # of each tried rate in `at`
    home = int(index[mean[index].argmin()])
    draws = at[curves.argmin(axis=1)]
    low, high = np.quantile(draws, [0.025, 0.975])
    worse = np.exp(curves[:, index]) > np.exp(curves[:, home])[:, None] + WITHIN
    ends = _usable(float(at[home]), tried, worse, random)
    widths = ends[:, 1] - ends[:, 0]
    first, last = np.median(ends, axis=0)
    narrow, wide = np.quantile(widths, [0.025, 0.975])
    return RateEstimate(
        best=10 ** float(at[lowest]),
        low=10 ** float(min(low, at[lowest])),
        high=10 ** float(max(high, at[lowest])),
        error=max(0.0, float(np.exp(mean[home])) - TIE),
        edge=_edge(curves, lowest),
        usable=(10 ** float(first), 10 ** float(last)),
        usable_decades=(float(narrow), float(wide)),
        tried=(10 ** float(at[0]), 10 ** float(at[-1])),
        n_runs=len(x),
        n_rates=n_rates,
        draws=draws,
        width_draws=widths,
        error_draws=np.exp(curves[:, home]) - TIE,
    )


def _edge(curves: Array, lowest: int) -> str | None:
    """The end that is not clearly worse; where neither is, the one more often better."""
    import numpy as np

    worse = [float(np.mean(curves[:, end] > curves[:, lowest])) for end in (0, -1)]
    if min(worse) >= CLEARLY:
        return None
    return "low" if worse[0] < worse[1] else "high"


def _usable(
    home: float, tried: Array, worse: NDArray[np.bool_], random: np.random.Generator
) -> Array:
    """Ends of the usable range around `home`, (DRAWS, 2) log10 rates.

    `worse`: (DRAWS, N), which of the tried rates are not usable. Between two of which one is and
    one is not, there may be a cliff that no smooth curve shows: the end is drawn evenly between.
    """
    import numpy as np

    ends = np.full((len(worse), 2), home)
    for side, sign in enumerate((-1, 1)):
        beyond = sign * (tried - home) > SAME
        if not beyond.any():
            continue
        reach, out = tried[beyond][::sign], worse[:, beyond][:, ::sign]  # outwards, M rates
        n_usable = np.where(out.any(axis=1), out.argmax(axis=1), len(reach))
        stops = np.concatenate([[home], reach, reach[-1:]])  # (M + 2,)
        inner, outer = stops[n_usable], stops[n_usable + 1]
        ends[:, side] = inner + random.random(len(worse)) * (outer - inner)
    return ends


@dataclass(frozen=True, kw_only=True)
class _Points:
    """Runs, G groups of the same rate and fate: their means say all there is, but for the noise."""

    x: Array  # (G,) log10 rates
    y: Array  # (G,) mean of log(error + TIE), less their level
    n: Array  # (G,) runs
    squares: Array  # (G,) sum of squares around the mean
    extra: Array  # (G,) variance beyond that between seeds


def _points(x: Array, error: Array) -> tuple[_Points, float]:
    """The runs as points, and the level (median of log error) that is taken off them."""
    import numpy as np

    failed = np.isinf(error)
    y = np.log(np.where(failed, max(USELESS, error[~failed].max()), error) + TIE)
    y = np.minimum(y, y.min() + CAP)
    level = float(np.median(y))
    keys, group, n = np.unique(
        np.stack([x, failed]), axis=1, return_inverse=True, return_counts=True
    )
    mean = np.bincount(group, y - level) / n
    squares = np.bincount(group, (y - level - mean[group]) ** 2).astype(float)
    extra = FAILED_NOISE * keys[1]
    return _Points(x=keys[0], y=mean, n=n.astype(float), squares=squares, extra=extra), level


def _posterior(
    x: Array, error: Array, at: Array, random: np.random.Generator
) -> tuple[Array, Array]:
    """Mean and draws (DRAWS, ...) of log(error + TIE) at `at`, over all scales and noises."""
    import numpy as np

    points, level = _points(x, error)
    shapes, weights = _weights(points)
    picked = random.multinomial(DRAWS, weights)
    mean, curves = np.zeros(len(at)), []
    for index in np.flatnonzero(weights):
        here, covariance = _conditional(points, at, shapes[index])
        mean += weights[index] * here
        root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(at)))
        curves.append(here + random.standard_normal((picked[index], len(at))) @ root.T)
    return mean + level, np.concatenate(curves) + level


def _kernel(a: Array, b: Array, scale: Array | float, amplitude: Array | float) -> Array:
    """Matern 5/2 plus an unknown level, (..., len(a), len(b))."""
    import numpy as np

    r = math.sqrt(5) * np.abs(a[:, None] - b[None, :]) / scale
    covariance: Array = amplitude**2 * (1 + r + r * r / 3) * np.exp(-r) + LEVEL**2
    return covariance


def _weights(points: _Points) -> tuple[list[tuple[float, float, float]], Array]:
    """Every shape of the grid and its posterior probability."""
    import numpy as np

    shapes = [(s, a, n) for s in SCALES for a in AMPLITUDES for n in NOISES]
    scale, amplitude, noise = (np.array(c)[:, None, None] for c in zip(*shapes, strict=True))
    variance = noise[:, 0] ** 2 + points.extra  # (S, G) of a run
    covariance = _kernel(points.x, points.x, scale, amplitude)  # (S, G, G)
    covariance += (variance / points.n)[:, None, :] * np.eye(len(points.x))
    root = np.linalg.cholesky(covariance)
    wanted = np.broadcast_to(points.y[:, None], (len(shapes), len(points.y), 1))
    white = np.linalg.solve(root, wanted)[..., 0]
    between = 0.5 * (white**2).sum(axis=1) + np.log(np.diagonal(root, 0, 1, 2)).sum(axis=1)
    within = 0.5 * (points.squares / variance + (points.n - 1) * np.log(variance)).sum(axis=1)
    prior = 0.5 * ((np.log(noise[:, 0, 0]) - USUAL_NOISE) / NOISE_SPREAD) ** 2
    density = -prior - between - within
    weights = np.exp(density - density.max())
    weights[weights < NEGLIGIBLE] = 0.0
    return shapes, weights / weights.sum()


def _conditional(
    points: _Points, at: Array, shape: tuple[float, float, float]
) -> tuple[Array, Array]:
    """Mean and covariance at `at`, given the runs."""
    import numpy as np

    scale, amplitude, noise = shape
    covariance = _kernel(points.x, points.x, scale, amplitude)
    covariance += np.diag((noise**2 + points.extra) / points.n)
    across = _kernel(points.x, at, scale, amplitude)
    gain = np.linalg.solve(covariance, across)
    return gain.T @ points.y, _kernel(at, at, scale, amplitude) - across.T @ gain
