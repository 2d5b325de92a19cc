"""Which candidates may run at all: memory and budgets, known or estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchfront.study.plan.limits import Limits
    from batchfront.study.search.encoding import Encoding
    from batchfront.study.search.prices import Prices

    Array = NDArray[np.float64]

NEAR_SIZE, NEAR_OWN = 1.0, 0.3  # doublings, and of a range: as near to a run without memory


class Feasible:
    """What one study knows on one hardware."""

    def __init__(
        self, *, encoding: Encoding, limits: Limits, prices: Prices, out_of_memory: Array
    ) -> None:
        """`out_of_memory`: (K, D) rows of runs that ended so, at costs no probe knows."""
        self._encoding = encoding
        self._limits = limits
        self._prices = prices
        self._out_of_memory = out_of_memory

    def share(self, rows: Array) -> Array:
        """0 where a run is known or estimated not to be allowed, 1 where nothing speaks against it.

        Between them beside runs that had no memory: larger batches would have had none either.
        """
        import numpy as np

        allowed = ~(self._is_excused(rows) | self._is_over_budget(rows))
        share: Array = allowed.astype(float)
        costly = self._encoding.costly
        for lost in self._out_of_memory:
            smaller = np.maximum(lost[0] - rows[:, 0], 0.0) / NEAR_SIZE
            off = (rows[:, costly] - lost[costly]) / NEAR_OWN
            share *= 1 - np.exp(-0.5 * (smaller**2 + (off**2).sum(axis=1)))
        return share

    def affordable(self, rows: Array) -> NDArray[np.bool_]:
        """(N,) Whether the budget of the search has room for a run."""
        import numpy as np

        most = self._limits.affordable_seconds
        if most is None:
            return np.ones(len(rows), dtype=bool)
        within: NDArray[np.bool_] = self._prices.of(rows)[:, 0] <= most
        return within

    def _is_excused(self, rows: Array) -> NDArray[np.bool_]:
        """(N,) Whether a row is the probed combination at a size that is known not to run."""
        import numpy as np

        costly = self._encoding.costly
        probed = np.array(self._encoding.probed_row())[costly]
        sizes = np.unique(rows[:, 0])
        excused = [size for size in sizes if self._limits.excuse(round(2**size)) is not None]
        as_probed = np.isclose(rows[:, costly], probed).all(axis=1)
        known: NDArray[np.bool_] = as_probed & np.isin(rows[:, 0], excused)
        return known

    def _is_over_budget(self, rows: Array) -> NDArray[np.bool_]:
        import numpy as np

        seconds, memory = self._prices.of(rows).T
        budgets, over = self._limits.known_budgets, np.zeros(len(rows), dtype=bool)
        if budgets.most_seconds is not None:
            over |= seconds > budgets.most_seconds
        if budgets.max_memory_bytes is not None:
            sizes, which = np.unique(rows[:, 0], return_inverse=True)
            costs = self._limits.costs
            beyond = np.array([budgets.beyond_peak(costs, round(2**size)) for size in sizes])
            over |= memory + beyond[which] > budgets.max_memory_bytes
        return over
