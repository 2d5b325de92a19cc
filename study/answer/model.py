"""What a fresh run is expected to reach at each batch size, from all the runs of a study.

The surface of the search, log error over batch size, learning rate and the task's own parameters,
is looked at as a whole: every run, also a stopped one, says something about its neighbours. The
best of many noisy runs was lucky too; the surface beneath it is not, so what it says there needs no
further discount. A fresh run's error is log-normal around it: what is not known of the surface and
what differs between seeds add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.study.answer.known import Known
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.surface import BELIEVED, TIE, Surface, fit_shape
from batchfront.study.trials.attributes import SIZE_NAMES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MAX_RUNS, MAX_FITTED = 500, 150  # of the surface, and of its shape: time grows with their cube
N_RATES = 61
N_OWN = 12  # values of the task's own parameters to choose from: those of the best runs
N_DRAWS = 200
MIN_COMPLETED = 5
LEVEL = 0.90
Z = 1.6448536269514722  # of that level, on both sides
SEARCHED_BY_ALL = (*SIZE_NAMES, "learning_rate")
UNKNOWN = 0.6  # deviation of log error: known to a factor of two in neither direction


@dataclass(frozen=True, kw_only=True)
class SizeEstimate:
    """One batch size at its best learning rate; errors are 1 - standard value."""

    batch_size: int
    learning_rate: float
    learning_rate_low: float  # of the 90% interval of the best
    learning_rate_high: float
    params: dict[str, Any]  # the task's own
    log_error: float  # of the surface, a normal distribution of log(error + TIE)
    deviation: float
    noise: float  # variance of it between seeds

    @property
    def error(self) -> float:
        """The mean of a fresh run's."""
        return max(0.0, self._above(0.0) - TIE)

    def error_at_most(self, deviations: float) -> float:
        """The mean between seeds where the surface lies so many of its deviations higher."""
        return max(0.0, self._above(deviations) - TIE)

    def _above(self, deviations: float) -> float:
        variance = self.noise + (self.deviation**2 if deviations == 0 else 0.0)
        return math.exp(self.log_error + deviations * self.deviation + variance / 2)

    @property
    def fresh_run(self) -> tuple[float, float]:
        """The interval of one fresh run's error, lowest first."""
        reach = Z * math.sqrt(self.deviation**2 + self.noise)
        low, high = (math.exp(self.log_error + sign * reach) - TIE for sign in (-1, 1))
        return max(0.0, low), max(0.0, high)

    @property
    def between_seeds(self) -> float:
        """The deviation of the error between seeds."""
        return math.exp(self.log_error) * math.sqrt(self.noise)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What all runs together say."""

    surface: Surface  # of log error
    noise: float  # variance of it between seeds
    own: Array  # (K, D - 2), the task's own parameters that did well, the best first


def learned_of(known: Known) -> Learned:
    """The surface through all runs, or through many of them."""
    seen = known.seen
    few, some = (_evenly(len(seen), most) for most in (MAX_FITTED, MAX_RUNS))
    part = seen.part(few)
    shape = fit_shape(part.x, part.log_error, part.noise, BELIEVED)
    part = seen.part(some)
    surface = Surface(part.x, part.log_error, part.noise, shape)
    return Learned(surface=surface, noise=shape.white, own=_own(part.x, surface))


def estimates_of(known: Known, learned: Learned, *, seed: int = 0) -> dict[int, SizeEstimate]:
    """The estimate of each batch size that may run; `seed` is of the draws for intervals."""
    import numpy as np

    slowest, fastest = np.log2(known.rates)
    rates = np.linspace(slowest, fastest, N_RATES)
    return {size: _estimate(size, rates, learned, known.encoding, seed) for size in known.costs}


def _estimate(
    size: int, rates: Array, learned: Learned, encoding: Encoding, seed: int
) -> SizeEstimate:
    import numpy as np

    surface = learned.surface
    candidates = _candidates(size, rates, learned.own)
    guess = surface.guess(candidates)
    best = int(np.argmin(guess.mean + guess.deviation**2 / 2))
    first = best - best % N_RATES  # of the rates with the same parameters
    known = _known_around(best - first, guess.deviation[first : first + N_RATES])
    draws = surface.draws(candidates[first : first + N_RATES][known], N_DRAWS, seed=seed)
    bests = rates[known][draws.argmin(axis=1)]
    low, high = np.quantile(bests, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    rate = candidates[best, 1]
    params = encoding.params(candidates[best].tolist())
    return SizeEstimate(
        batch_size=size,
        learning_rate=float(2**rate),
        learning_rate_low=float(2 ** min(low, rate)),
        learning_rate_high=float(2 ** max(high, rate)),
        params={name: params[name] for name in params if name not in SEARCHED_BY_ALL},
        log_error=float(guess.mean[best]),
        deviation=float(guess.deviation[best]),
        noise=learned.noise,
    )


def _known_around(best: int, deviation: Array) -> slice:
    """The rates around the best one of which something is known.

    Where nothing was tried some draws have their least error, whatever is true there: they would
    stretch the interval of the best rate over all rates.
    """
    import numpy as np

    unknown = np.flatnonzero(deviation > UNKNOWN)
    below, above = unknown[unknown < best], unknown[unknown > best]
    first = int(below[-1]) + 1 if len(below) else 0
    return slice(first, int(above[0]) if len(above) else len(deviation))


def _evenly(n: int, most: int) -> NDArray[np.intp]:
    """The indices of at most so many of n, evenly over all."""
    import numpy as np

    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp))


def _own(x: Array, surface: Surface) -> Array:
    """Columns of the task's own parameters, (K, D - 2), that did well by the surface."""
    import numpy as np

    if x.shape[1] == 2:
        return np.empty((1, 0))
    best = x[np.argsort(surface.guess(x).mean, kind="stable")]
    _, first = np.unique(best[:, 2:], axis=0, return_index=True)
    found: Array = best[np.sort(first)[:N_OWN], 2:]
    return found


def _candidates(size: int, rates: Array, own: Array) -> Array:
    """Rows, (K N_RATES, D), of one size: all rates with each of the K parameters of the task."""
    import numpy as np

    columns = [np.full(len(own) * len(rates), math.log2(size)), np.tile(rates, len(own))]
    return np.column_stack([*columns, np.repeat(own, len(rates), axis=0)])
