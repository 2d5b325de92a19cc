"""Where a loss is going: what its course so far lets one hope for at the end of the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

SPREADS = 2.0  # a fall of fewer standard errors is noise
QUICKER = 1.1  # than the fall before: more than rounding
LARGEST = 700.0  # logarithm of a float


def outlook(
    values: Sequence[float], left: float, *, damped: bool, spreads: float = SPREADS
) -> float:
    """The least to hope for after `left` more values, if they go on as they did.

    The last three quarters say how they fall; a fall within `spreads` standard errors is none. One
    that quickens goes on with the square of time: so do two layers that grow together, and a
    learning rate that warms up. Another goes on as it is or, `damped`, slows down as it did, though
    only by the root of the ratio of the last two falls. Positive values fall by shares of
    themselves; at first perhaps as a squared error, whose root falls.
    """
    if min(values) <= 0:
        return _hope(values, left, damped, spreads)
    logs = _hope([math.log(value) for value in values], left, damped, spreads)
    found = math.exp(min(logs, LARGEST))
    roots = [math.sqrt(value) for value in values]
    if damped or not _quickens(roots):
        return found
    return min(found, max(_hope(roots, left, damped, spreads), 0.0) ** 2)


def falls(values: Sequence[float]) -> bool:
    """The last quarter lies below the one before it by more than noise."""
    levels = [math.log(value) for value in values] if min(values) > 0 else values
    size = _block_size(len(levels))
    return size > 0 and _fall(levels, size, SPREADS) > 0


def _hope(levels: Sequence[float], left: float, damped: bool, spreads: float) -> float:
    size = _block_size(len(levels))
    if size == 0:
        return levels[-1]
    return _mean(levels[-size:]) - _still_to_fall(levels, size, left, damped, spreads)


def _block_size(n: int) -> int:
    return max(n // 4, min(1, n // 3))


def _still_to_fall(
    levels: Sequence[float], size: int, left: float, damped: bool, spreads: float
) -> float:
    n = len(levels)
    fall = _fall(levels, size, spreads)
    if fall == 0:
        return 0.0
    before = _drop(levels[:-size], size)
    if fall > QUICKER * before:
        slope = fall / size / (2 * (n - size))  # of the square of time, where the two blocks meet
        now, end = n - size / 2, n + left
        return slope * (end * end - now * now)
    blocks = left / size + 0.5
    if not damped or fall >= before:
        return fall * blocks
    ratio = math.sqrt(fall / before)
    return fall * ratio * (1 - math.pow(ratio, blocks)) / (1 - ratio)


def _quickens(levels: Sequence[float]) -> bool:
    size = _block_size(len(levels))
    return size > 0 and _drop(levels, size) > QUICKER * _drop(levels[:-size], size)


def _fall(levels: Sequence[float], size: int, spreads: float) -> float:
    """The fall from the last block but one to the last; 0 within the noise."""
    middle, new = levels[-2 * size : -size], levels[-size:]
    fall = _drop(levels, size)
    error = math.sqrt((_noise(middle) + _noise(new)) / size)
    return fall if fall > spreads * error else 0.0


def _drop(levels: Sequence[float], size: int) -> float:
    return _mean(levels[-2 * size : -size]) - _mean(levels[-size:])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)  # not fmean, which raises where a sum overflows


def _noise(values: Sequence[float]) -> float:
    """Variance about a trend, from neighbours' differences."""
    pairs = list(pairwise(values))
    return sum((a - b) * (a - b) for a, b in pairs) / (2 * len(pairs)) if pairs else 0.0
