"""What a candidate is worth for its cost: expected hypervolume, and the best of its own size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.study.search.chances import news, success
from batchfront.study.search.gains import Plane, expected_below
from batchfront.study.search.known import Known
from batchfront.study.search.observations import Observations
from batchfront.study.search.past import PastSurface, with_past
from batchfront.study.search.prices import Prices
from batchfront.study.search.surface import Guess, Surface
from batchfront.study.trials.yardstick import TIE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MAX_BEST = 128  # runs of a size that may be its best: the process is asked about each
WORST = 2.0  # median errors: a run worse than that is worth nothing
LEAST_WORST, LEAST_ALLOWED = 0.02, 0.001
MAX_CORNERS, ROUNDED = 64, 16  # costs told apart; else to so many parts of the plane's width
DUE = 0.003
"""Weight of a batch size's own best accuracy, relative to the hypervolume, and whatever it costs:
small sizes are expensive, and get theirs when little hypervolume is left to be had cheaply."""


def worst_error(
    seen: Observations, min_metric: float | None, *, usual: float | None = None
) -> float:
    """The error from which on a run is worth nothing; `usual`: None: what these err by."""
    import numpy as np

    usual = float(np.median(seen.measured[seen.counts])) if usual is None else usual
    usual = max(WORST * usual, LEAST_WORST)
    allowed = 1.0 if min_metric is None else max(1 - min_metric, LEAST_ALLOWED)
    return min(usual, allowed, 1.0)


def worth_of(
    known: Known, running: Array, candidates: Array, prices: Prices, worst: float
) -> Array:
    """What each candidate is worth for its cost; (M,)."""
    import numpy as np

    seen = known.seen
    surface, told, error = _believed(known, running)
    guess = surface.guess(candidates)
    price, spent = prices.of(candidates), prices.of(told)
    ended = seen.x[seen.counts]  # the first of what is told: their own steps are known
    spent[: len(ended)] = prices.whole(ended)
    spent[: len(ended), 0] *= seen.share[seen.counts]
    scaled = _scale(np.vstack([spent, price]))
    corners, group = _grouped(scaled[len(told) :])
    plane = Plane(scaled[: len(told)], error, corners=corners, worst=worst)
    volume = plane.expected_gains(guess, corners, group) / max(plane.volume, 1e-9)
    due = due_at(told, error, surface, guess, candidates, worst) / worst
    times = price[:, 0] / price[:, 0].min()
    worth = volume / times + DUE * due
    x, failed = with_past(seen, known.past)
    chances: Array = worth * news(guess, known.shape) * success(x, failed, candidates)
    return chances


def _believed(known: Known, running: Array) -> tuple[Surface | PastSurface, Array, Array]:
    """The surface, and of what may be on the front its rows, (F, D), and errors, (F,).

    Runs that are under way count as if they had ended as expected, so that nobody else goes there.
    """
    import numpy as np

    seen, some = known.seen, known.part()
    x, y, noise = some.x, some.log_error, some.noise
    surface = known.surface(x, y, noise)
    told, error = seen.x[seen.counts], seen.measured[seen.counts]
    if not len(running):
        return surface, told, error
    believed = surface.mean(running)
    x, y = np.vstack([x, running]), np.append(y, believed)
    surface = known.surface(x, y, np.append(noise, np.zeros(len(running))))
    ended = np.maximum(np.exp(believed) - TIE, 0.0)
    return surface, np.vstack([told, running]), np.append(error, ended)


def _grouped(corners: Array) -> tuple[Array, NDArray[np.intp]]:
    """The different ones, (G, 2), and which of them each is; estimates differ a little always."""
    import numpy as np

    different, group = np.unique(corners, axis=0, return_inverse=True)
    if len(different) > MAX_CORNERS:
        rounded = np.round(corners * ROUNDED) / ROUNDED
        different, group = np.unique(rounded, axis=0, return_inverse=True)
    return different, group.ravel()


def _scale(costs: Array) -> Array:
    """Logarithms, from 0 to 1 over all that is there; (N, 2)."""
    import numpy as np

    logs = np.log(np.maximum(costs, 1e-12))
    low, high = logs.min(axis=0), logs.max(axis=0)
    scaled: Array = (logs - low) / np.where(high > low, high - low, 1.0)
    return scaled


def due_at(
    told: Array,
    error: Array,
    surface: Surface | PastSurface,
    guess: Guess,
    candidates: Array,
    worst: float,
) -> Array:
    """How far below the best of its own batch size a candidate is expected to get; (M,).

    The best by what the process makes of it: luck with a seed is no reason to look elsewhere. Of
    many runs only those are asked about that did best.
    """
    import numpy as np

    sizes, group = np.unique(candidates[:, 0], return_inverse=True)
    best = np.full(len(sizes), worst)
    for row, size in enumerate(sizes):
        own = np.flatnonzero(told[:, 0] == size)
        if len(own) > MAX_BEST:
            own = own[np.argpartition(error[own], MAX_BEST)[:MAX_BEST]]
        if len(own):
            believed = np.exp(surface.mean(told[own])) - TIE
            best[row] = min(believed.min(), worst)
    gains: Array = expected_below(guess, best)[np.arange(len(candidates)), group.ravel()]
    return gains
