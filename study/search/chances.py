"""What makes a candidate worth less than its expected gain: noise, and failures nearby."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchfront.study.search.surface import Guess, Shape

    Array = NDArray[np.float64]

DOUBT = 3.0  # power of the share of runs nearby that did not fail
AT_A_TIME = 2**16  # distances
NEAR_SIZE, NEAR_RATE, NEAR_OWN = 1.0, 1.5, 0.3  # doublings, and of a range: as near to a failure


def news(guess: Guess, shape: Shape) -> Array:
    """How much of what a run shows would be new, 0..1, rather than noise between seeds; (M,).

    The factor of augmented expected improvement (Huang et al. 2006): it ends repeats in time.
    """
    import numpy as np

    noise = np.sqrt(shape.white)
    share: Array = 1 - noise / np.sqrt(guess.deviation**2 + noise**2)
    return share


def success(x: Array, failed: NDArray[np.bool_], candidates: Array) -> Array:
    """Share of the runs nearby, of x, (N, D), that did not fail, and one more that did not; (M,).

    The process is smooth, and a failure is a cliff: where good rates of other sizes diverge, it
    would go on to hope.
    """
    import numpy as np

    near = np.array([NEAR_SIZE, NEAR_RATE] + [NEAR_OWN] * (candidates.shape[1] - 2))
    to, runs = candidates / near, x / near
    well = 1 + _n_near(to, runs[~failed])
    share = well / (well + _n_near(to, runs[failed]))
    hope: Array = share**DOUBT * _ever(x[:, 0], failed, candidates[:, 0])
    return hope


def _n_near(candidates: Array, runs: Array) -> Array:
    """How many runs, (K, D), lie near each of the candidates, (M, D); the nearer, the more: (M,).

    Some candidates at a time, whose distances fit into a processor's cache.
    """
    import numpy as np
    from scipy.spatial.distance import cdist

    n_near = np.zeros(len(candidates))
    some = max(1, AT_A_TIME // max(len(runs), 1))
    for first in range(0, len(candidates), some):
        weight = cdist(candidates[first : first + some], runs, "sqeuclidean")
        weight *= -0.5
        n_near[first : first + some] = np.exp(weight, out=weight).sum(axis=1)
    return n_near


def _ever(ran: Array, failures: NDArray[np.bool_], sizes: Array) -> Array:
    """1 where a batch size has ever run well, the less the more often it only failed; (M,).

    Some sizes cannot be trained at any rate: batch norm does not take a batch of one.
    """
    import numpy as np

    different, which = np.unique(sizes, return_inverse=True)
    chance = np.ones(len(different))
    for row, size in enumerate(different):
        failed = failures[ran == size]
        if failed.all():
            chance[row] = 1.0 / (1 + len(failed))
    return chance[which.ravel()]
