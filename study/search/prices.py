"""What a run costs before it starts: known where its batch size was probed, else estimated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchfront.study.trials.costs import Costs

    Array = NDArray[np.float64]

NEAR_SIZE, FAR = 1.0, 1e-3  # doublings, and what any other size weighs
PULL = 0.1  # towards "makes no difference", in squared ranges


class Prices:
    """Seconds and bytes of whole runs, of rows of parameters.

    By batch size they are known; between sizes, straight lines in logs. What the task's own
    parameters change is a factor each, fitted to the trials (ridge regression of logs). Where runs
    end early, a run takes as much of its time as those of sizes nearby did.
    """

    def __init__(
        self, costs: Costs, *, costly: Sequence[int] = (), probed: Sequence[float]
    ) -> None:
        """`costly`: columns that bear cost; `probed`: the row at which sizes were probed."""
        import numpy as np

        seconds = {size: cost.train_seconds for size, cost in costs.items()}
        memory = {size: cost.memory for size, cost in costs.items()}
        # Where nothing is known: small sizes take longer, large ones more memory.
        self._seconds = _logs({s: v for s, v in seconds.items() if v}) or [(0, 0.0), (20, -20.0)]
        self._memory = _logs({s: v for s, v in memory.items() if v}) or [(0, 0.0), (20, 20.0)]
        self._costly = list(costly)
        self._probed = np.array(probed)[self._costly]
        self._factors = np.zeros((len(self._costly), 2))  # log2, over the range of each column
        self._ended: tuple[Array, Array] | None = None  # (K,) log2 sizes and shares of runs

    def learn(self, x: Array, costs: Array) -> None:
        """Learn prices from runs that measured themselves: x, (N, D); seconds and bytes, (N, 2)."""
        import numpy as np

        measured = (costs > 0).all(axis=1)
        if not self._costly or not measured.any():
            return
        off = x[measured][:, self._costly] - self._probed  # (n, C)
        rest = np.log2(costs[measured]) - np.log2(self._by_size(x[measured]))  # (n, 2)
        pull = PULL * np.eye(off.shape[1])
        self._factors = np.linalg.solve(off.T @ off + pull, off.T @ rest)

    def learn_shares(self, log2_sizes: Array, shares: Array) -> None:
        """Learn which shares of their steps completed runs took, (K,) each."""
        if (shares < 1).any():
            self._ended = log2_sizes, shares

    def of(self, x: Array) -> Array:
        """Seconds and bytes, (M, 2), that rows x, (M, D), are expected to take."""
        price = self.whole(x)
        price[:, 0] *= self._expected_share(x[:, 0])
        return price

    def _expected_share(self, log2_sizes: Array) -> Array:
        import numpy as np

        if self._ended is None:
            return np.ones(len(log2_sizes))
        known, shares = self._ended
        sizes, which = np.unique(log2_sizes, return_inverse=True)  # few, of many rows
        near = np.exp(-0.5 * ((sizes[:, None] - known) / NEAR_SIZE) ** 2) + FAR  # (S, K)
        expected: Array = near @ shares / near.sum(axis=1)
        return expected[which.ravel()]

    def whole(self, x: Array) -> Array:
        """Seconds and bytes, (M, 2), of runs to their last epoch."""
        if not self._costly:
            return self._by_size(x)
        price: Array = self._by_size(x) * 2.0 ** (
            (x[:, self._costly] - self._probed) @ self._factors
        )
        return price

    def _by_size(self, x: Array) -> Array:
        import numpy as np

        logs = []
        for points in (self._seconds, self._memory):
            sizes, values = zip(*points, strict=True)
            logs.append(np.interp(x[:, 0], sizes, values))
        price: Array = 2.0 ** np.column_stack(logs)
        return price


def _logs(known: dict[int, float]) -> list[tuple[float, float]]:
    return [(math.log2(size), math.log2(value)) for size, value in sorted(known.items())]
