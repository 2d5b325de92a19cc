"""What makes a candidate worth less than its expected gain: noise, and failures nearby."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchfront.study.search.observations import Observations
    from batchfront.study.search.surface import Guess, Shape

    Array = NDArray[np.float64]

DOUBT = 3.0  # power of the share of runs nearby that did not fail
NEAR_SIZE, NEAR_RATE, NEAR_OWN = 1.0, 1.5, 0.3  # doublings, and of a range: as near to a failure


def news(guess: Guess, shape: Shape) -> Array:
    """How much of what a run shows would be new, 0..1, rather than noise between seeds; (M,).

    The factor of augmented expected improvement (Huang et al. 2006): it ends repeats in time.
    """
    import numpy as np

    noise = np.sqrt(shape.white)
    share: Array = 1 - noise / np.sqrt(guess.deviation**2 + noise**2)
    return share


def success(seen: Observations, candidates: Array) -> Array:
    """Share of the runs nearby that did not fail, and one more that did not; (M,).

    The process is smooth, and a failure is a cliff: where good rates of other sizes diverge, it
    would go on to hope.
    """
    import numpy as np
    from scipy.spatial.distance import cdist

    near = np.array([NEAR_SIZE, NEAR_RATE] + [NEAR_OWN] * (candidates.shape[1] - 2))
    weight = np.exp(-0.5 * cdist(candidates / near, seen.x / near, "sqeuclidean"))  # (M, N)
    well = 1 + weight[:, ~seen.failed].sum(axis=1)
    share = well / (well + weight[:, seen.failed].sum(axis=1))
    hope: Array = share**DOUBT * _ever(seen, candidates[:, 0])
    return hope


def _ever(seen: Observations, sizes: Array) -> Array:
    """1 where a batch size has ever run well, the less the more often it only failed; (M,).

    Some sizes cannot be trained at any rate: batch norm does not take a batch of one.
    """
    import numpy as np

    same = sizes[:, None] == seen.x[:, 0]  # (M, N)
    failures = (same & seen.failed).sum(axis=1)
    well = (same & ~seen.failed).any(axis=1)
    return np.where(well, 1.0, 1.0 / (1 + failures))
