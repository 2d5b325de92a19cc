"""What a metric counts: a fraction of n validation examples takes whole steps of 1/n.

Differences of less than one example tell nothing, the less so the fewer there are: with 35 of them
an error of 0 and one of 0.03 are neighbours, whatever their logarithms say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_EXAMPLES = 2000  # a step of less than that says nothing about a run
LEAST_VALUES = 3  # different ones: fewer are whole steps of something by chance
ROUNDING = 1 / 12  # variance of what rounding to whole steps changes, in squares of a step
EXACT = 1e-6  # to which values are known: tables have six digits


def step_of(values: NDArray[np.float64]) -> float:
    """The largest step 1/n that all values, (N,), are whole multiples of; 0 where there is none."""
    import numpy as np

    different = np.unique(np.round(values[np.isfinite(values)], 6))
    if len(different) < LEAST_VALUES:
        return 0.0
    examples = np.arange(1, MOST_EXAMPLES + 1)
    counts = np.round(np.outer(examples, different))
    whole = (np.abs(counts / examples[:, None] - different) < EXACT).all(axis=1)
    return 1.0 / int(examples[whole][0]) if whole.any() else 0.0
