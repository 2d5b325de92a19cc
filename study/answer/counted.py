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
LEAST_VALUES = 3
"""Different ones: fewer are whole steps of something by chance. Three may all be even (one time in
eight): then a step is taken for twice as large, which matters little where steps are small."""
ROUNDING = 1 / 12  # variance of what rounding to whole steps changes, in squares of a step
FIRST = 20  # values that most numbers of examples fail at: all at once would take much memory
EXACT = 1e-6  # to which values are known: tables have six digits


def step_of(values: NDArray[np.float64]) -> float:
    """The largest step 1/n that all values, (N,), are whole multiples of; 0 where there is none."""
    import numpy as np

    different = np.unique(np.round(values[np.isfinite(values)], 6))
    if len(different) < LEAST_VALUES:
        return 0.0
    examples = _whole(np.arange(1, MOST_EXAMPLES + 1), different[:FIRST])
    examples = _whole(examples, different)
    return 1.0 / int(examples[0]) if len(examples) else 0.0


def _whole(examples: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Those numbers of examples of which each of the values, (N,), is a whole number."""
    import numpy as np

    counts = np.round(np.outer(examples, values))
    found: NDArray[np.intp] = examples[
        (np.abs(counts / examples[:, None] - values) < EXACT).all(axis=1)
    ]
    return found
