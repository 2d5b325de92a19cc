"""What a fresh run is expected to reach at each batch size, from all the runs of a study.

The surface of the search, log error over batch size, learning rate and the task's own parameters,
is looked at as a whole: every run, also a stopped one, says something about its neighbours. The
best of many noisy runs was lucky too; the surface beneath it is not, so what it says there needs no
further discount. A fresh run's error is log-normal around it: what is not known of the surface and
what differs between seeds add up.

Where the metric counts examples, log(error + tie) has a tie of one of them at least, and a run
tells its error to within the rounding (Sheppard 1898: a twelfth of a squared step).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batchfront.study.answer.counted import ROUNDING, step_of
from batchfront.study.answer.known import Known
from batchfront.study.search.chances import DOUBT, success
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.surface import BELIEVED, Shape, Surface, fit_shape
from batchfront.study.trials.attributes import SIZE_NAMES
from batchfront.study.trials.yardstick import TIE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchfront.study.search.observations import Part
    from batchfront.study.search.surface import Guess

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
CAREFUL = 1.0
"""Deviations of the surface that count against a rate: beyond the rates that were tried lies a
cliff more often than a better rate."""
EDGE = 1.0  # doublings: a best rate so near to the last that is known may as well lie beyond it
MOST_FAIL = 0.5  # share of the runs nearby that do not fail, below which a rate is not recommended


@dataclass(frozen=True, kw_only=True)
class SizeEstimate:
    """One batch size at its best learning rate; errors are 1 - standard value."""

    batch_size: int
    learning_rate: float
    learning_rate_low: float  # of the 90% interval of the best
    learning_rate_high: float
    is_bounded_below: bool  # False: the best may be lower than all rates that something is known of
    is_bounded_above: bool
    params: dict[str, Any]  # the task's own
    log_error: float  # of the surface, a normal distribution of log(error + tie)
    deviation: float
    noise: float  # variance of it between seeds
    tie: float = TIE
    step: float = 0.0  # of the error, where it counts examples

    @property
    def error(self) -> float:
        """The mean of a fresh run's."""
        return max(0.0, self._above(0.0) - self.tie)

    def error_at_most(self, deviations: float) -> float:
        """The mean between seeds where the surface lies so many of its deviations higher."""
        return max(0.0, self._above(deviations) - self.tie)

    def _above(self, deviations: float) -> float:
        variance = self.noise + (self.deviation**2 if deviations == 0 else 0.0)
        return math.exp(self.log_error + deviations * self.deviation + variance / 2)

    @property
    def fresh_run(self) -> tuple[float, float]:
        """The interval of one fresh run's error, lowest first; it is rounded to whole examples."""
        return self.interval(Z * math.sqrt(self.deviation**2 + self.noise), self.step / 2)

    def interval(self, reach: float, beyond: float = 0.0) -> tuple[float, float]:
        """The errors within so much of the surface's log error, and some error beyond that."""
        low, high = (
            math.exp(self.log_error + sign * reach) - self.tie + sign * beyond for sign in (-1, 1)
        )
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
    x: Array  # (N, D), encoded: the runs of the surface
    failed: NDArray[np.bool_]  # (N,)
    tie: float  # added to errors before their logarithm
    step: float  # of the error, where it counts examples; else 0


def learned_of(known: Known, shape: Shape | None = None) -> Learned:
    """The surface through all runs, or many of them; its shape is found where none is given."""
    step = _step(known)
    tie = max(TIE, step)
    some = _evenly(len(known.seen), MAX_RUNS)
    part = _rounded(known.seen.part(some, tie=tie), step)
    shape = shape or shape_of(known)
    surface = Surface(part.x, part.log_error, part.noise, shape)
    return Learned(
        surface=surface,
        noise=shape.white,
        own=_own(part.x, surface),
        x=part.x,
        failed=known.seen.failed[some],
        tie=tie,
        step=step,
    )


def shape_of(known: Known) -> Shape:
    """The most probable shape of the surface, by many runs of all that are known."""
    step = _step(known)
    few = _evenly(len(known.seen), MAX_FITTED)
    part = _rounded(known.seen.part(few, tie=max(TIE, step)), step)
    return fit_shape(part.x, part.log_error, part.noise, BELIEVED)


def _step(known: Known) -> float:
    """What one validation example changes; a share of 100% is counted as a share of 1."""
    import numpy as np

    metric, yardstick = known.seen.metric, known.yardstick
    own = step_of(np.asarray(yardstick.own(metric)))
    return max(step_of(metric), abs(yardstick.factor) * own)


def _rounded(part: Part, step: float) -> Part:
    """The runs, each known to a whole number of steps only."""
    import numpy as np

    rounding = ROUNDING * (step / np.exp(part.log_error)) ** 2
    return replace(part, noise=part.noise + rounding)


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

    candidates = _candidates(size, rates, learned.own)
    guess = learned.surface.guess(candidates)
    works = _works(candidates, learned)
    best = _surest(guess, works)
    first = best - best % N_RATES  # of the rates with the same parameters
    around = _known_around(best - first, guess.deviation[first : first + N_RATES])
    beside = first + np.arange(N_RATES)[around]
    draws = learned.surface.draws(candidates[beside], N_DRAWS, seed=seed)
    interval = _best_rates(candidates[beside, 1], np.where(works[beside], draws, np.inf))
    rate = candidates[best, 1]
    edge = min(EDGE, (interval.ends[1] - interval.ends[0]) / 4)  # a range may be narrow
    params = encoding.params(candidates[best].tolist())
    return SizeEstimate(
        batch_size=size,
        learning_rate=float(2**rate),
        learning_rate_low=float(2 ** min(interval.low, rate)),
        learning_rate_high=float(2 ** max(interval.high, rate)),
        is_bounded_below=interval.low >= interval.ends[0] + edge,
        is_bounded_above=interval.high <= interval.ends[1] - edge,
        params={name: params[name] for name in params if name not in SEARCHED_BY_ALL},
        log_error=float(guess.mean[best]),
        deviation=float(guess.deviation[best]),
        noise=learned.noise,
        tie=learned.tie,
        step=learned.step,
    )


def _works(candidates: Array, learned: Learned) -> NDArray[np.bool_]:
    """Whether most of the runs near each of the candidates, (M, D), did not fail; (M,).

    The surface is smooth and a failure is a cliff, beside which it may go on. Where nothing works
    that is no difference.
    """
    hope = success(learned.x, learned.failed, candidates)
    works: NDArray[np.bool_] = hope >= MOST_FAIL**DOUBT
    return works if works.any() else ~works


def _surest(guess: Guess, works: NDArray[np.bool_]) -> int:
    """Which of the candidates, (M,), has surely the least error."""
    import numpy as np

    return int(np.argmin(np.where(works, guess.mean + CAREFUL * guess.deviation, np.inf)))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Logarithms of learning rates."""

    low: float
    high: float
    ends: tuple[float, float]  # of what was looked at


def _best_rates(rates: Array, draws: Array) -> Interval:
    """Where 90% of the best of the rates, (K,), lie; `draws`: log errors of surfaces, (n, K)."""
    import numpy as np

    bests = rates[draws.argmin(axis=1)]
    low, high = np.quantile(bests, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], method="nearest")
    ends = float(rates[0]), float(rates[-1])
    return Interval(low=float(low), high=float(high), ends=ends)


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
