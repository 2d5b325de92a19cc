"""Trial parameters as rows of numbers, and rows to choose from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.space import SearchSpace

    Array = NDArray[np.float64]

N_RATES = 48  # learning rates to choose from at every batch size
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples, modulo 1, fill an interval evenly


class Encoding:
    """Columns: log2 batch size, log2 learning rate."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._names = set(space.distributions())
        low, high = space.learning_rates
        self._rates = math.log2(low), math.log2(high)

    @property
    def n_columns(self) -> int:
        return 2

    def knows(self, params: Mapping[str, Any]) -> bool:
        """Whether all parameters are there: a trial that is just being asked for has none."""
        return self._names <= set(params)

    def row(self, params: Mapping[str, Any]) -> list[float]:
        """One row of numbers."""
        return [float(params["log2_batch_size"]), math.log2(params["learning_rate"])]

    def params(self, row: Sequence[float]) -> dict[str, Any]:
        """Back to what Optuna stores."""
        low, high = self._space.learning_rates
        rate = min(max(2.0 ** row[1], low), high)  # powers do not give the ends back exactly
        return {"log2_batch_size": round(row[0]), "learning_rate": rate}

    def spread(self, number: int, offset: float) -> float:
        """log2 learning rate of a start that fills the range; `offset`: 0..1."""
        low, high = self._rates
        return low + (high - low) * ((offset + number * GOLDEN) % 1)

    def candidates(self, sizes: Sequence[int], draw: np.random.Generator) -> Array:
        """Rows to choose from, (M, D): every size with rates on a grid that is moved each time."""
        import numpy as np

        low, high = self._rates
        rates, step = np.linspace(low, high, N_RATES, retstep=True)
        rates = np.clip(rates + (draw.random() - 0.5) * step, low, high)
        logs = np.log2(np.array(sizes, dtype=float))
        return np.column_stack([np.repeat(logs, len(rates)), np.tile(rates, len(logs))])
