"""What a run costs before it starts: known where its batch size was probed, else estimated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.costs import Costs

    Array = NDArray[np.float64]


class Prices:
    """Of whole runs, by log2 batch size; straight lines in logs between the sizes known."""

    def __init__(self, costs: Costs) -> None:
        seconds = {size: cost.train_seconds for size, cost in costs.items()}
        memory = {size: cost.memory for size, cost in costs.items()}
        # Where nothing is known: small sizes take longer, large ones more memory.
        self._seconds = _logs({s: v for s, v in seconds.items() if v}) or [(0.0, 0.0), (20, -20.0)]
        self._memory = _logs({s: v for s, v in memory.items() if v}) or [(0.0, 0.0), (20, 20.0)]

    def seconds(self, log2_batch_size: Array) -> Array:
        """(M,) for (M,)."""
        return _between(self._seconds, log2_batch_size)

    def memory(self, log2_batch_size: Array) -> Array:
        """Bytes, (M,) for (M,)."""
        return _between(self._memory, log2_batch_size)


def _logs(known: dict[int, float]) -> list[tuple[float, float]]:
    return [(math.log2(size), math.log2(value)) for size, value in sorted(known.items())]


def _between(points: list[tuple[float, float]], at: Array) -> Array:
    import numpy as np

    sizes, values = zip(*points, strict=True)
    price: Array = 2.0 ** np.interp(at, sizes, values)
    return price
