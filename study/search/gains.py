"""What a run is expected to gain, where its time and memory are known and only its error is not.

Known costs turn the expected hypervolume improvement into sums of one-dimensional expectations:
the plane of time and memory is cut into cells, each of which has a lowest error so far, and a
candidate at (t, m) improves every cell beyond it from that error to its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.study.trials.yardstick import TIE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchfront.study.search.surface import Guess

    Array = NDArray[np.float64]

EDGE = 1.1  # of the plane of time and memory, both scaled to 0..1


def expected_below(guess: Guess, levels: Array) -> Array:
    """How far below each of `levels`, (L,), the error is expected to lie: (M, L).

    E max(level - error, 0) for a log-normal error + TIE; the value of a put option
    (Black and Scholes 1973) without interest.
    """
    import numpy as np
    from scipy.special import ndtr

    deviation = np.maximum(guess.deviation, 1e-9)[:, None]
    strike = levels + TIE
    d = (np.log(strike) - guess.mean[:, None]) / deviation
    forward = np.exp(guess.mean[:, None] + deviation**2 / 2)
    value: Array = strike * ndtr(d) - forward * ndtr(d - deviation)
    return np.maximum(value, 0.0)


class Plane:
    """The plane of scaled time and memory, with the lowest error known at every point of it."""

    def __init__(self, costs: Array, error: Array, *, corners: Array, worst: float) -> None:
        """`costs`: (F, 2) and `error`: (F,) of what is known; `corners`: (G, 2) of what could run.

        `worst`: error where nothing is known; what is worse than that is worth nothing.
        """
        import numpy as np

        points = np.vstack([costs, corners])
        self._edges = [np.unique(np.append(points[:, axis], EDGE)) for axis in (0, 1)]
        shape = tuple(len(edges) for edges in self._edges)
        lowest = np.full(shape, worst)
        at = tuple(np.searchsorted(self._edges[axis], costs[:, axis]) for axis in (0, 1))
        np.minimum.at(lowest, at, error)
        lowest = np.minimum.accumulate(np.minimum.accumulate(lowest, axis=0), axis=1)
        self._lowest = lowest[:-1, :-1]  # of the cell up and right of each corner
        self._area = np.outer(np.diff(self._edges[0]), np.diff(self._edges[1]))
        self._worst = worst

    @property
    def volume(self) -> float:
        """The hypervolume between `worst` and the lowest errors known."""
        return float((self._area * (self._worst - self._lowest)).sum())

    def expected_gains(self, guess: Guess, corners: Array, group: NDArray[np.intp]) -> Array:
        """Expected hypervolume gained by M candidates: (M,).

        `corners`: (G, 2), as given before; `group`: (M,) says which of them a candidate has.
        """
        import numpy as np

        levels, level = np.unique(self._lowest, return_inverse=True)
        level = level.reshape(self._lowest.shape)
        area = np.zeros((len(corners), len(levels)))  # beyond each corner, of cells at each level
        for row, (time, memory) in enumerate(corners):
            start = [
                int(np.searchsorted(edges, at))
                for edges, at in zip(self._edges, (time, memory), strict=True)
            ]
            beyond = np.s_[start[0] :, start[1] :]
            np.add.at(area[row], level[beyond].ravel(), self._area[beyond].ravel())
        gains: Array = (expected_below(guess, levels) * area[group]).sum(axis=1)
        return gains
