"""The error over the learning rate at one batch size: a parabola, and what differs from it.

Log error is taken for a parabola over the logarithm of the learning rate, whose bottom moves with
the batch size and whose height is each size's own, plus the Gaussian process of the search. The
parabola makes what lies beyond the rates that were tried look worse, not average: a size at which
nothing works must not send the tuning away to where nothing was tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import FAILED
from batchfront.study.search.surface import (
    TILTS,
    USUAL_NOISE,
    USUAL_TILT,
    Shape,
    Surface,
    usual_shape,
)
from batchfront.study.trials.yardstick import TIE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchfront.study.trials.rows import RunRow

    Array = NDArray[np.float64]

CAP = 2.5  # of log error above the best, as in the search: a failure is a cliff
FAILED_NOISE = 0.5  # variance of a failure's log error
MOST = 150  # runs to learn from, of the nearest sizes
PRIOR_RUNS = 4  # so many pairs of seeds is the usual noise worth
STEP = 0.25  # doublings between two rates to choose from
SMOOTH = 2  # steps to either side: a rate at the brink of divergence is not the best one
BENDS = (0.015, 0.03, 0.06, 0.12, 0.25)  # of the parabola, log error a squared doubling
BOTTOM_STEP = 0.5  # doublings between two bottoms that are tried
MARGIN = 4.0  # doublings beyond the rates that were run, for a bottom
OFF_PARABOLA = 0.05  # variance of log error
TILT_SPREAD = 0.4  # of a normal prior, as in the search
SHIFTS = tuple(0.25 * step for step in range(-12, 13))  # doublings of one size's bottom off the law
SHIFT_SPREAD = 1.5  # of a normal prior


@dataclass(frozen=True, kw_only=True)
class Parabola:
    """height + bend * (log2 rate - bottom - tilt * log2 size)^2, the most probable one."""

    bend: float
    bottom: float
    tilt: float

    def bow(self, x: Array) -> Array:
        """(N,) above the height of its size; x: (N, 2) of log2 size and log2 rate."""
        off: Array = x[:, 1] - self.bottom - self.tilt * x[:, 0]
        bow: Array = self.bend * off**2
        return bow


class RateModel:
    """Learned from runs at one batch size and the sizes nearest to it."""

    def __init__(self, rows: Sequence[RunRow], size: int) -> None:
        """`rows` holds at least one run that `says_something`."""
        import numpy as np

        self._size = math.log2(size)
        near = [row for row in rows if says_something(row)]
        near.sort(key=lambda row: (abs(math.log2(row.batch_size) - self._size), -row.number))
        used = near[:MOST]
        x = np.array([[math.log2(r.batch_size), math.log2(r.learning_rate)] for r in used])
        logs = np.array([math.log(error_of(r) + TIE) for r in used])
        failed = np.array([r.metric is None for r in used])
        logs = np.where(failed, logs.min() + CAP, np.minimum(logs, logs.min() + CAP))
        between = _noise_between(used)
        noise = np.where(failed, FAILED_NOISE, 0.0)
        variance = noise + between + OFF_PARABOLA
        self._parabola = fit_parabola(x, logs, variance)
        mine = x[:, 0] == self._size
        if mine.any():
            self._parabola = shifted(self._parabola, x[mine], logs[mine], variance[mine])
        rest = logs - self._parabola.bow(x)
        shape = _shape_around(self._parabola, between)
        self._rest = Surface(x, rest, noise, shape)

    def best(self, low: float, high: float) -> float:
        """The learning rate between two with the least error expected around it."""
        import numpy as np

        n = max(2, round(math.log2(high / low) / STEP) + 1)
        step = math.log2(high / low) / (n - 1)
        rates = math.log2(low) + step * np.arange(-SMOOTH, n + SMOOTH)
        x = np.column_stack([np.full(len(rates), self._size), rates])
        mean = self._parabola.bow(x) + self._rest.guess(x).mean
        window = 2 * SMOOTH + 1
        around = np.convolve(mean, np.ones(window) / window, mode="valid")
        return float(2 ** rates[SMOOTH + int(around.argmin())])


def fit_parabola(x: Array, y: Array, variance: Array) -> Parabola:
    """The most probable one for x, (N, 2), y, (N,), with one height for each size."""
    import numpy as np

    weight = 1 / variance
    _, group = np.unique(x[:, 0], return_inverse=True)
    member = np.eye(group.max() + 1)[group]  # (N, sizes)
    total = weight @ member

    def loss(off: Array, bend: float) -> Array:
        """(M,) for M bottoms; off: (M, N)."""
        rest = y - bend * off**2
        height = (rest * weight) @ member / total
        missed: Array = ((rest - height[:, group]) ** 2) @ weight
        return missed

    best = (math.inf, Parabola(bend=BENDS[0], bottom=0.0, tilt=USUAL_TILT))
    for tilt in TILTS:
        along = x[:, 1] - tilt * x[:, 0]
        bottoms = np.arange(along.min() - MARGIN, along.max() + MARGIN, BOTTOM_STEP)
        off = along - bottoms[:, None]
        prior = ((tilt - USUAL_TILT) / TILT_SPREAD) ** 2
        for bend in BENDS:
            missed = loss(off, bend) + prior
            at = int(missed.argmin())
            if missed[at] < best[0]:
                found = Parabola(bend=bend, bottom=float(bottoms[at]), tilt=tilt)
                best = (float(missed[at]), found)
    return best[1]


def shifted(law: Parabola, x: Array, y: Array, variance: Array) -> Parabola:
    """The law with the most probable bottom of one size, by that size's runs x, (N, 2), y, (N,).

    Sizes lie off the law between them: at each the rate is what its own runs say, too.
    """
    import numpy as np

    weight = 1 / variance
    off = x[:, 1] - law.bottom - law.tilt * x[:, 0]
    rest = y - law.bend * (off - np.array(SHIFTS)[:, None]) ** 2  # (S, N)
    height = (rest @ weight / weight.sum())[:, None]
    missed = ((rest - height) ** 2) @ weight + (np.array(SHIFTS) / SHIFT_SPREAD) ** 2
    return replace(law, bottom=law.bottom + SHIFTS[int(missed.argmin())])


def _shape_around(parabola: Parabola, noise: float) -> Shape:
    usual = usual_shape(2).theta
    theta = (math.log(OFF_PARABOLA), *usual[1:-1], math.log(noise))
    return Shape(tilt=parabola.tilt, theta=theta)


def says_something(row: RunRow) -> bool:
    """Whether a run tells about the error at its learning rate."""
    return row.finished and (row.metric is not None or row.verdict in FAILED)


def is_crash(row: RunRow) -> bool:
    """Whether the objective raised, or its workers died over and over: no word on training."""
    return row.finished and row.metric is None and row.verdict is None


def error_of(row: RunRow, lost: float = 1.0) -> float:
    """1 - metric, above 1 of an R2 below 0 or a loss worse than usual; of a failed run `lost`."""
    return lost if row.metric is None else max(1 - row.metric, 0.0)


def lost_error(rows: Sequence[RunRow]) -> float:
    """What a failed one of these runs counts for: as useless, and as the worst that ended."""
    return max((error_of(row) for row in rows), default=1.0)


def _noise_between(rows: Sequence[RunRow]) -> float:
    """Variance of log error between seeds: of runs that differ in nothing else, and the usual."""
    import numpy as np

    groups: dict[tuple[int, float], list[float]] = {}
    for row in rows:
        if row.metric is not None:
            key = row.batch_size, row.learning_rate
            groups.setdefault(key, []).append(math.log(error_of(row) + TIE))
    several = [np.array(logs) for logs in groups.values() if len(logs) > 1]
    squares = sum(float(((logs - logs.mean()) ** 2).sum()) for logs in several)
    free = sum(len(logs) - 1 for logs in several)
    return (squares + PRIOR_RUNS * math.exp(USUAL_NOISE)) / (free + PRIOR_RUNS)
