"""How likely a run is to end as well as another, as the completed runs of its study tell it.

Errors are compared as logarithms: one of 0.1 that halves is like one of 0.02 that does. What each
completed run's error still lost after the same epoch is told by a kernel regression (Nadaraya 1964,
Watson 1964): it counts for as much as its level, slope, jitter, batch size and learning rate are
alike. A little is believed beforehand: that an error stays as it is, give or take.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from batchfront.study.pruning.bound import FITTED, JITTERED, LOWEST, SMOOTHED, History
from batchfront.study.trials.yardstick import TIE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ALIKE = (0.8, 0.4, 1.0, 2.0, 2.0)
"""Scales of the kernel: log error, its fall over a factor e of epochs, log of the jitter, and
doublings of the batch size and of the learning rate."""
BELIEVED, VARIANCE = 0.05, 0.5
"""Completed runs that what is believed beforehand counts for, and its variance of a log error."""
LEAST_VARIANCE = 1e-4  # of a log error
LEAST_JITTER = 0.003  # of a log error


class Guess(NamedTuple):
    """How a run will end: the log of its error + `TIE`."""

    mean: float
    deviation: float

    def log_chance(self, rival: float) -> float:
        """Log of the probability to end at a standard value of `rival` or better."""
        from scipy.special import log_ndtr

        return float(log_ndtr((_log_error(rival) - self.mean) / self.deviation))

    @property
    def middle(self) -> float:
        """The standard value that it ends above or below with the same probability."""
        return 1 - (math.exp(self.mean) - TIE)


class Chances:
    """Learned from one history; later runs need a new one. A curve with a gap tells nothing."""

    def __init__(self, history: History) -> None:
        import numpy as np

        whole = np.isfinite(history.curves).all(axis=1) & np.isfinite(history.final)
        self._curves, self._final = history.curves[whole], history.final[whole]
        self._settings = history.log2_batch_size[whole], history.log2_learning_rate[whole]
        self._seen: dict[int, Array] = {}  # by epoch: features of the completed runs

    @property
    def n_epochs(self) -> int:
        """The number of epochs of a whole run."""
        return int(self._curves.shape[1])

    def guess(self, curve: Array, log2_batch_size: float, log2_learning_rate: float) -> Guess:
        """How a run will end after the epochs of `curve`, (e,) standard values."""
        import numpy as np

        epoch = len(curve)
        if epoch not in self._seen:
            self._seen[epoch] = _features(self._curves[:, :epoch], *self._settings)
        seen = self._seen[epoch]
        own = _features(curve[None], np.array([log2_batch_size]), np.array([log2_learning_rate]))[0]
        weight = np.exp(-(((seen - own) / ALIKE) ** 2).sum(axis=1) / 2)
        fall = _log_errors(self._final) - seen[:, 0]
        total = BELIEVED + weight.sum()
        mean = float(weight @ fall / total)
        square = float((BELIEVED * VARIANCE + weight @ fall**2) / total)
        variance = max(square - mean**2, LEAST_VARIANCE)
        return Guess(mean=float(own[0]) + mean, deviation=math.sqrt(variance))


def _features(curves: Array, log2_batch_size: Array, log2_learning_rate: Array) -> Array:
    """What N curves, (N, e), show at their last epoch, and how they were trained: (N, 5)."""
    import numpy as np

    curves = np.maximum(curves, LOWEST)
    log_errors = _log_errors(curves)
    level = _log_errors(curves[:, -SMOOTHED:].mean(axis=1))
    shown = level, _slope(log_errors), _log_jitter(log_errors)
    return np.stack([*shown, log2_batch_size, log2_learning_rate], axis=1)


def _slope(log_errors: Array) -> Array:
    """How log errors move over the last epochs, by log epoch: (N,); 0 after the first."""
    import numpy as np

    recent = log_errors[:, -FITTED:]
    n = recent.shape[1]
    if n < 2:
        return np.zeros(len(recent))
    x = np.arange(n) - (n - 1) / 2
    slope: Array = recent @ x / (x @ x) * log_errors.shape[1]
    return slope


def _log_jitter(log_errors: Array) -> Array:
    """The log of how unevenly log errors move between epochs: (N,); 0 before the third."""
    import numpy as np

    if log_errors.shape[1] < 3:
        return np.zeros(len(log_errors))
    steps = np.diff(log_errors[:, -JITTERED:], axis=1)
    jitter: Array = np.log(steps.std(axis=1) + LEAST_JITTER)
    return jitter


def _log_errors(values: Array) -> Array:
    """Log of error + `TIE` of standard values."""
    import numpy as np

    errors: Array = np.log(np.maximum(1 - values, 0.0) + TIE)
    return errors


def _log_error(value: float) -> float:
    return math.log(max(1 - value, 0.0) + TIE)
