"""What the search chooses by: the runs of a study, and of an earlier one that agrees with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.study.search.observations import Observations, Part
from batchfront.study.search.past import Past, PastSurface, with_past
from batchfront.study.search.surface import Shape, Surface

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

N_START = 6  # trials of the cheap start
MAX_OBSERVATIONS = 500  # of the process: the newest half, and every so many of the rest


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a choice is made by."""

    seen: Observations
    shape: Shape
    past: Past | None = None  # an earlier study that agrees
    agreement: float = 0.0
    is_tried: bool = False  # the earlier study has not proven yet that it agrees

    @property
    def good(self) -> Array:
        """(F, D) Rows that did well, here or there."""
        if self.past is None:
            return self.seen.x[self.seen.counts]
        return with_past(self.seen, self.past)[0]

    def surface(self, x: Array, y: Array, noise: Array) -> Surface | PastSurface:
        """What is known of log error, given x, (N, D), y, (N,), and its extra variance, (N,)."""
        if self.past is None:
            return Surface(x, y, noise, self.shape)
        return self.past.surface(x, y, noise, self.agreement)

    def part(self) -> Part:
        """The runs of this study, as the surface gets them."""
        best = math.inf if self.past is None else self.past.best
        return self.seen.part(thinned(self.seen), best=best)

    @property
    def usual_error(self) -> float:
        """What runs of this study err by, or while there are few, those of the earlier."""
        import numpy as np

        counts = self.seen.counts
        if self.past is not None and counts.sum() < N_START:
            return self.past.kept.usual_error
        return float(np.median(self.seen.measured[counts]))


def thinned(seen: Observations) -> NDArray[np.intp]:
    """Which observations the process gets: time grows with their cube."""
    import numpy as np

    n, half = len(seen), MAX_OBSERVATIONS // 2
    if n <= MAX_OBSERVATIONS:
        return np.arange(n)
    old = np.linspace(0, n - half, half, endpoint=False).astype(int)
    return np.append(old, np.arange(n - half, n))
