"""What more trials may gain: how far the best that has run lies from the best there is.

Draws of the whole surface that the runs allow say it: in each of them the best error of a batch
size among its runs is compared with the best at any learning rate, and the hypervolume of all sizes
likewise. The share of draws in which a difference is small is the probability that it is. Runs that
were overtaken count, too: had they gone on, they would have shown what is expected of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from batchfront.study.search.surface import Guess, Noise, Shape, Surface
from batchfront.study.trials.yardstick import TIE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchfront.study.search.observations import Observations

    Array = NDArray[np.float64]

SMOOTH = Noise(usual=math.log(0.04), spread=0.7, rough=0.0)
"""As the answer believes, and no bumps at all: with them there would always be a rate between two
others that may be lucky, and no search would ever have found the best."""
N_DRAWS = 256
N_HOPEFUL, N_TRIED = 20, 8  # of a batch size: candidates, and runs, that may be the best
HOPE = 1.5  # deviations below the mean, by which candidates are chosen
MANY = 2.0  # deviations between seeds: nineteen of twenty runs of one setting lie within
MOST_BOUGHT = 200  # runs, of the draws that propose them
EDGE = 1.1  # of the plane of time and memory, both scaled to 0..1


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What D surfaces say of S batch sizes; errors are 1 - standard value."""

    sizes: Array  # (S,) log2, ascending: those that may run
    found: Array  # (D, S) error of the best run; `worst` where there is none
    best: Array  # (D, S) least error of any run or candidate
    tolerance: Array  # (S,) what repeating a run changes: two deviations between seeds
    costs: Array  # (S, 2) seconds and bytes
    worst: float  # error from which on a run is worth nothing
    hopeful: Sequence[Array]  # S times (D, M): errors of candidates that may be the best

    @cached_property
    def gains(self) -> Array:
        """The fall of the error that each size may still see: (D, S)."""
        return self.found - self.best

    @cached_property
    def volume_gains(self) -> Array:
        """The share of the hypervolume that is still to be had, beyond the tolerance: (D,)."""
        import numpy as np

        there_is = np.where(self.gains > self.tolerance, self.best, self.found)
        most = np.maximum(_volumes(there_is, self.costs, self.worst), 1e-12)
        share: Array = 1 - _volumes(self.found, self.costs, self.worst) / most
        return share


def bought(outlook: Outlook, seconds: float) -> Array:
    """The fall of the error that each size is expected to see in so many seconds more: (S,).

    Runs are chosen by draws of the surface, as Thompson (1933) would: the k-th draw proposes its
    best candidate of each size. Of these the one is run that is expected to gain most a second.
    What each run would teach the next is left out, so that it is rather too little.
    """
    import numpy as np

    found, k = outlook.found.copy(), [0] * len(outlook.sizes)
    price = np.maximum(outlook.costs[:, 0], 1e-12)
    for _ in range(MOST_BOUGHT):
        runs = [errors[:, errors[n].argmin()] for errors, n in zip(outlook.hopeful, k, strict=True)]
        gains = np.array([np.maximum(f - r, 0).mean() for f, r in zip(found.T, runs, strict=True)])
        worth = np.where(price <= seconds, gains / price, -1.0)
        at = int(worth.argmax())
        if worth[at] <= 0:
            break
        found[:, at] = np.minimum(found[:, at], runs[at])
        seconds -= price[at]
        k[at] += 1
    gained: Array = (outlook.found - found).mean(axis=0)
    return gained


def outlook_of(
    *, seen: Observations, shape: Shape, candidates: Array, costs: Array, worst: float, seed: int
) -> Outlook:
    """The outlook of a study.

    `candidates`: (M, D) rows that may run; `costs`: (S, 2) of their sizes, ascending; `worst`: the
    error from which on a run is worth nothing.
    """
    import numpy as np

    part = seen.part(np.arange(len(seen)))
    surface = Surface(part.x, part.log_error, part.noise, shape)
    sizes = np.unique(candidates[:, 0])
    rows, place, has_run = _chosen(sizes, seen.x[_tried(seen)], candidates, surface)
    errors = np.minimum(np.exp(surface.draws(rows, N_DRAWS, seed=seed)) - TIE, worst)
    found, best = np.full((2, N_DRAWS, len(sizes)), worst)
    hopeful = [errors[:, (place == at) & ~has_run] for at in range(len(sizes))]
    for at in range(len(sizes)):
        best[:, at] = errors[:, place == at].min(axis=1)
        own = (place == at) & has_run
        if own.any():
            found[:, at] = errors[:, own].min(axis=1)
    level = np.maximum(np.median(best, axis=0), 0.0) + TIE
    tolerance = np.maximum(MANY * level * math.sqrt(shape.white), TIE)
    return Outlook(
        sizes=sizes, found=found, best=best, tolerance=tolerance, costs=costs, worst=worst,
        hopeful=hopeful,
    )  # fmt: skip


def _tried(seen: Observations) -> NDArray[np.bool_]:
    """(N,) Whether a run shows what its setting is worth: it completed, or was overtaken."""
    import numpy as np

    tried: NDArray[np.bool_] = seen.counts | (np.isnan(seen.metric) & ~seen.failed)
    return tried


def _chosen(
    sizes: Array, tried: Array, candidates: Array, surface: Surface
) -> tuple[Array, NDArray[np.intp], NDArray[np.bool_]]:
    """Rows that may be the best of a size, (K, D), the place of that size, and which have run."""
    import numpy as np

    groups = (
        (candidates, _hope(surface.guess(candidates)), N_HOPEFUL, False),
        (tried, surface.mean(tried), N_TRIED, True),
    )
    rows: list[Array] = []
    place: list[int] = []
    has_run: list[bool] = []
    for at, size in enumerate(sizes):
        for among, hope, most, ran in groups:
            own = np.flatnonzero(among[:, 0] == size)
            own = own[np.argsort(hope[own], kind="stable")[:most]]
            rows.append(among[own])
            place += [at] * len(own)
            has_run += [ran] * len(own)
    return np.vstack(rows), np.array(place), np.array(has_run)


def _hope(guess: Guess) -> Array:
    return guess.mean - HOPE * guess.deviation


def _volumes(errors: Array, costs: Array, worst: float) -> Array:
    """The hypervolumes of errors, (D, S), in error x log time x log memory: (D,)."""
    import numpy as np

    logs = np.log(np.maximum(costs, 1e-12))
    low, high = logs.min(axis=0), logs.max(axis=0)
    scaled = (logs - low) / np.where(high > low, high - low, 1.0)  # (S, 2)
    edges = [np.unique(np.append(scaled[:, axis], EDGE)) for axis in (0, 1)]
    area = np.outer(*map(np.diff, edges)).ravel()  # of C cells
    corners = np.stack(np.meshgrid(edges[0][:-1], edges[1][:-1], indexing="ij"), axis=-1)
    beyond = (scaled <= corners.reshape(-1, 1, 2)).all(axis=2)  # (C, S)
    lowest = np.where(beyond, errors[:, None], worst).min(axis=2)  # (D, C)
    volume: Array = (worst - lowest) @ area
    return volume
