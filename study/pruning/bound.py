"""How good a run can still become: an optimistic bound learned from the study's completed curves.

Two guesses at the final metric are made after each epoch: the run's own trend, and its level plus
what the completed curves most like it still gained from there. Each has a spread. The bound lies
`margin` spreads above, and whichever guess allows more counts.

The margin is calibrated on the runs that were a record when they finished, judged as if they had
been running: each one's score is the smallest margin that would have spared it at all its epochs.
A margin at the (1 - risk) quantile of the scores stops a record with probability `risk` (split
conformal prediction, arXiv:1604.04173, here with leave-one-out scores).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SPARED_SHARE = 0.05
"""Of the runs that would be stopped: they go on, or the bound would learn from survivors only."""

FIRST_EPOCH = 2  # a single point has no trend
NEIGHBOURS = 10
SIZE_SCALE, LEVEL_SCALE, SLOPE_SCALE = 2.0, 0.5, 1.0
"""What counts as equally far: two doublings of the batch size, half a standard deviation of the
levels at that epoch, one of the slopes."""
SMOOTHED, FITTED, JITTERED = 3, 4, 6  # epochs: of the level, of the trend, of the jitter
FLOOR = 0.002  # of every spread: no metric is known better than this
LOWEST = -1.0  # an R2 below this is as good as this: outliers would rule every scale
NO_RIVAL = -math.inf  # score of a record that nothing dominated at any margin
DEFAULT_MARGIN = 3.0  # while no record had a rival
TAIL = 0.25  # upper share of the scores that the tail beyond them is guessed from
MIN_TAIL = 3  # scores
MIN_DECAY = 0.6  # spreads


@dataclass(frozen=True, kw_only=True)
class Features:
    """What N curves show at one epoch; each array is (N,)."""

    level: Array
    slope: Array  # per epoch
    jitter: Array
    trend: Array  # where it leads


@dataclass(frozen=True, kw_only=True)
class History:
    """N completed runs in the order of their numbers, E epochs each."""

    curves: Array  # (N, E)
    final: Array  # (N,)
    log2_batch_size: Array  # (N,)
    log2_learning_rate: Array  # (N,)
    train_seconds: Array  # (N,)
    peak_memory_bytes: Array  # (N,)
    weight: Array  # (N,) how many runs it stands for

    def __len__(self) -> int:
        return len(self.final)

    @cached_property
    def rivals(self) -> Array:
        """(N,) best final metric of earlier runs that cost no more; -inf where there is none."""
        import numpy as np

        seconds, memory = self.train_seconds, self.peak_memory_bytes
        cheap = (seconds <= seconds[:, None]) & (memory <= memory[:, None])  # (N, N)
        earlier = np.tril(np.ones(cheap.shape, dtype=bool), k=-1)
        best: Array = np.where(cheap & earlier, self.final, NO_RIVAL).max(axis=1)
        return best


class Bound:
    """Learned from one history; later runs need a new one."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._features: dict[int, Features] = {}

    @property
    def n_epochs(self) -> int:
        """The number of epochs of a whole run."""
        return int(self._history.curves.shape[1])

    def upper(self, curve: Array, log2_batch_size: float, *, margin: float) -> float:
        """Optimistic final metric of a run after the epochs of `curve`, (e,)."""
        return max(
            guess + margin * spread for guess, spread in self._guesses(curve, log2_batch_size)
        )

    def _guesses(self, curve: Array, log2_batch_size: float) -> list[tuple[float, float]]:
        """Both guesses, each with its spread."""
        import numpy as np

        run = features(curve[None], self.n_epochs)
        level, spread = self._learned(len(curve), run, np.array([log2_batch_size]))
        both = (run.trend, run.jitter), (level, spread)
        return [(float(guess[0]), float(width[0])) for guess, width in both]

    def expected(
        self, curves: Array, log2_batch_size: Array, without: NDArray[np.intp] | None = None
    ) -> tuple[Array, Array]:
        """Final metric and its deviation after the e epochs of `curves`, (M, e); each (M,).

        `without`: (M,) for each the curve of the history that is its own.
        """
        run = features(curves, self.n_epochs)
        return self._learned(curves.shape[1], run, log2_batch_size, without)

    def margin(self, risk: float) -> float:
        """The margin in spreads, at least 0, at a risk; an exponential tail extends the scores."""
        return _quantile(*self._scores, risk)

    @cached_property
    def _scores(self) -> tuple[Array, Array]:
        """The scores of the R records, (R,), falling, and the records' weights, (R,)."""
        import numpy as np

        history = self._history
        records = np.flatnonzero(history.final >= history.rivals)
        rivals = history.rivals[records]
        scores = np.full(len(records), NO_RIVAL)
        for epoch in range(FIRST_EPOCH, self.n_epochs):
            run = features(history.curves[records, :epoch], self.n_epochs)
            level, spread = self._learned(
                epoch, run, history.log2_batch_size[records], without=records
            )
            needed = np.minimum((rivals - run.trend) / run.jitter, (rivals - level) / spread)
            scores = np.maximum(scores, needed)
        order = np.argsort(-scores, kind="stable")
        return scores[order], history.weight[records][order]

    def _learned(
        self, epoch: int, runs: Features, sizes: Array, without: NDArray[np.intp] | None = None
    ) -> tuple[Array, Array]:
        """Level plus mean gain of the nearest curves, and the spread; (M,) each for M runs.

        `without`: (M,) for each run the curve of the history that is its own.
        """
        import numpy as np

        history, seen = self._history, self._at(epoch)
        far = (sizes[:, None] - history.log2_batch_size) / SIZE_SCALE  # (M, N)
        off = (runs.level[:, None] - seen.level) / (LEVEL_SCALE * (seen.level.std() + FLOOR))
        bent = (runs.slope[:, None] - seen.slope) / (SLOPE_SCALE * (seen.slope.std() + FLOOR))
        distance = far**2 + off**2 + bent**2
        if without is not None:
            distance[np.arange(len(without)), without] = math.inf
        k = min(NEIGHBOURS, len(history) - (without is not None))
        nearest = np.argpartition(distance, k - 1, axis=1)[:, :k]  # (M, k)
        gain = (history.final - seen.level)[nearest]
        weight = history.weight[nearest] / history.weight[nearest].sum(axis=1, keepdims=True)
        mean = (weight * gain).sum(axis=1)
        variance = (weight * (gain - mean[:, None]) ** 2).sum(axis=1)
        return runs.level + mean, np.sqrt(variance + runs.jitter**2)

    def _at(self, epoch: int) -> Features:
        if epoch not in self._features:
            self._features[epoch] = features(self._history.curves[:, :epoch], self.n_epochs)
        return self._features[epoch]


def features(curves: Array, n_epochs: int) -> Features:
    """The features of `curves`, (N, e), in runs of `n_epochs`.

    The trend goes on as the logarithm of the epoch: learning curves flatten at least that much.
    """
    import numpy as np

    curves = np.maximum(curves, LOWEST)
    epoch = curves.shape[1]
    recent = curves[:, -FITTED:]
    x = np.arange(recent.shape[1]) - (recent.shape[1] - 1) / 2
    mean = recent.mean(axis=1)
    slope = recent @ x / (x @ x)
    level = curves[:, -SMOOTHED:].mean(axis=1)
    rise = np.maximum(slope, 0.0) * epoch * math.log(n_epochs / epoch)
    return Features(
        level=level,
        slope=slope,
        jitter=_jitter(curves, recent - (mean[:, None] + slope[:, None] * x)),
        trend=np.maximum(level, mean + slope * x[-1] + rise),
    )


def _jitter(curves: Array, residual: Array) -> Array:
    """Standard deviation of an epoch's metric around its trend, (N,); two guesses, the larger."""
    import numpy as np

    steps = np.diff(curves[:, -JITTERED:], axis=1)
    jitter: Array = np.maximum(steps.std(axis=1) / math.sqrt(2), FLOOR)
    freedom = residual.shape[1] - 2
    if freedom > 0:
        jitter = np.maximum(jitter, np.sqrt((residual**2).sum(axis=1) / freedom))
    return jitter


def _quantile(scores: Array, weight: Array, risk: float) -> float:
    """The score, at least 0, that a further run exceeds at that risk; `scores`: (N,), falling.

    An exponential tail extends them.
    """
    import numpy as np

    reached = np.cumsum(weight)  # runs with at least this score
    total = reached[-1] + 1  # the run to be judged is one more, and may be beyond them all
    within = int(np.searchsorted((reached - weight + 1) / total, risk, side="right"))
    if within > 0:
        return max(float(scores[within - 1]), 0.0)
    n_rivals = int((scores > NO_RIVAL).sum())
    if n_rivals == 0:
        return DEFAULT_MARGIN
    quarter = int(np.searchsorted(reached / reached[-1], TAIL)) + 1
    n_tail = min(max(quarter, MIN_TAIL), len(scores))
    start = max(float(scores[n_tail - 1]), 0.0)
    beyond = np.maximum(scores[:n_tail] - start, 0.0)
    decay = max(float(np.average(beyond, weights=weight[:n_tail])), MIN_DECAY)
    share = float(reached[n_tail - 1] + 1) / float(total)
    return max(start + decay * math.log(share / risk), float(scores[0]))
