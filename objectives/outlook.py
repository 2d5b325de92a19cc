"""Where a loss is going: what its course so far lets one hope for at the end of the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

SPREADS = 2.0  # a fall of fewer standard errors is noise
LARGEST = 700.0  # logarithm of a float


def outlook(
    values: Sequence[float], left: float, *, damped: bool, spreads: float = SPREADS
) -> float:
    """The least to hope for after `left` more values, if they go on as they did.

    The last three quarters say how they fall; a fall within `spreads` standard errors is none. One
    that quickens goes on with the square of time: so do two layers that grow together, and a
    learning rate that warms up. Another goes on as it is or, `damped`, slows down as it did, though
    only by the root of the ratio of the last two falls. Positive values fall by shares of
    themselves: their logarithms are looked at.
    """
    levels = _levels(values)
    size = _block_size(len(levels))
    if size == 0:
        return values[-1]
    level = _mean(levels[-size:]) - _still_to_fall(levels, size, left, damped, spreads)
    return math.exp(min(level, LARGEST)) if levels is not values else level


def falls(values: Sequence[float]) -> bool:
    """The last quarter lies below the one before it by more than noise."""
    levels = _levels(values)
    size = _block_size(len(levels))
    return size > 0 and _fall(levels, size, SPREADS) > 0


def _levels(values: Sequence[float]) -> Sequence[float]:
    return [math.log(value) for value in values] if min(values) > 0 else values


def _block_size(n: int) -> int:
    return max(n // 4, min(1, n // 3))


def _still_to_fall(
    levels: Sequence[float], size: int, left: float, damped: bool, spreads: float
) -> float:
    n = len(levels)
    fall = _fall(levels, size, spreads)
    if fall == 0:
        return 0.0
    before = _mean(levels[n - 3 * size : n - 2 * size]) - _mean(levels[n - 2 * size : n - size])
    if fall >= before:
        slope = fall / size / (2 * (n - size))  # of the square of time, where the two blocks meet
        now, end = n - size / 2, n + left
        return slope * (end * end - now * now)
    blocks = left / size + 0.5
    if not damped:
        return fall * blocks
    ratio = math.sqrt(fall / before)
    return fall * ratio * (1 - ratio**blocks) / (1 - ratio)


def _fall(levels: Sequence[float], size: int, spreads: float) -> float:
    """From the last block but one to the last; 0 within the noise."""
    middle, new = levels[-2 * size : -size], levels[-size:]
    fall = _mean(middle) - _mean(new)
    error = math.sqrt((_noise(middle) + _noise(new)) / size)
    return fall if fall > spreads * error else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)  # not fmean, which raises where a sum overflows


def _noise(values: Sequence[float]) -> float:
    """Variance about a trend, from neighbours' differences."""
    pairs = list(zip(values, values[1:], strict=False))
    return sum((a - b) * (a - b) for a, b in pairs) / (2 * len(pairs)) if pairs else 0.0
