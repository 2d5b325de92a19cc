"""What a study's trials say about the error: completed ones, and those that were stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from batchfront.study.trials.yardstick import TIE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Rows = NDArray[np.intp]

USELESS = 1.0  # error of a constant predictor of R2 0, and of one that is never right
CAP = 2.5
"""Of log error above the best: a failure is a cliff, and a smooth process would ring around it."""
FAILED_NOISE = 4.0
"""Variance of a failure's log error: it is taken for granted only next to where it happened. Taken
for a precise observation of a bad error, one early stop among good runs would make the process
believe that everything is noise."""
UNSURE = 0.25  # variance of the log error of a stopped run that no curve tells more about


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some M of the observations, as the process gets them."""

    x: Array  # (M, D), encoded
    log_error: Array  # (M,) of log(error + tie), capped
    noise: Array  # (M,) variance of log error beyond that between seeds


@dataclass(frozen=True, kw_only=True)
class Observations:
    """N trials, in the order of their numbers."""

    numbers: NDArray[np.intp]  # (N,) of the trials
    x: Array  # (N, D), encoded
    metric: Array  # (N,) standard values of completed runs; NaN of all others
    failed: NDArray[np.bool_]  # (N,) diverged, stalled, or raised
    counts: NDArray[np.bool_]
    """(N,) completed on this hardware and feasible: it may be on the front. While none of them is
    feasible, all of them."""
    costs: Array  # (N, 2) seconds and bytes, at known cost; NaN where not completed here
    share: Array  # (N,) of its announced steps that it took; 1 unless it completed early
    expect: Callable[[Rows], tuple[Array, Array]]
    """The metrics, (M,), that M stopped runs would have had, and their deviations, by number. It
    takes a look at hundreds of curves for each, so only those are asked for that matter."""
    worst: float = USELESS
    """Errors beyond it count as this one: runs that are worse than useless need not be told apart.
    Where nobody knows what is useless, half of all runs are beyond 1, and must be."""

    def __len__(self) -> int:
        return len(self.metric)

    @property
    def measured(self) -> Array:
        """(N,) 1 - metric, 0..worst, of completed runs, NaN of stopped ones; what failed is useless
        and as bad as the worst of them."""
        import numpy as np

        error = self._error(self.metric)
        lost = np.fmax.reduce(error, initial=USELESS)
        return np.where(self.failed, lost, error)

    def part(self, rows: Rows, *, best: float = math.inf, tie: float = TIE) -> Part:
        """The runs at `rows`, (M,). `best`: log error of the best one known of elsewhere.

        `tie`: what is added to errors before their logarithm.
        """
        import numpy as np

        error, noise = self._seen(rows, tie)
        among = self.measured[self.counts] if self.counts.any() else self.error
        best = np.log(among + tie).min(initial=best)
        capped = np.minimum(np.log(error + tie), best + CAP)
        return Part(x=self.x[rows], log_error=capped, noise=noise)

    @cached_property
    def error(self) -> Array:
        """(N,) 1 - metric, 0..worst; where a run was stopped what is expected."""
        import numpy as np

        return self._seen(np.arange(len(self)), TIE)[0]

    def _seen(self, rows: Rows, tie: float) -> tuple[Array, Array]:
        """Errors, and extra variances of their logs, (M,) each."""
        import numpy as np

        error = self.measured[rows]
        noise = np.where(self.failed[rows], FAILED_NOISE, 0.0)
        stopped = np.flatnonzero(np.isnan(error))
        metric, deviation = self.expect(self.numbers[rows[stopped]])
        error[stopped] = self._error(metric)
        sure = np.minimum((deviation / (error[stopped] + tie)) ** 2, UNSURE)
        noise[stopped] = np.where(np.isnan(deviation), UNSURE, sure)
        return error, noise

    def _error(self, metric: Array) -> Array:
        import numpy as np

        error: Array = np.clip(1 - metric, 0.0, self.worst)
        return error
