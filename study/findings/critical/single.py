"""What single runs say of the critical batch size, where sizes have no seeds: a weaker answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from batchfront.study.findings.critical.medians import (
    REPLICATES,
    interval,
    straight_lines,
    widened,
)

MIN_SIZES = 5  # of fewer, how far they lie off a line says little of how far runs scatter


@dataclass(frozen=True, kw_only=True)
class SingleLine:
    """The line through what the best run of each size took."""

    b_crit: float
    low: float
    high: float  # inf: the costs may not grow at all
    noise: float  # of runs, relative, by how far they lie off the line
    n_sizes: int


def single_line(costs: Sequence[tuple[int, float]], *, seed: int = 0) -> SingleLine | None:
    """The line through one cost a size, whose noise is what the sizes lie off it.

    None: the sizes are too few, or not even the line itself rises.
    """
    import numpy as np

    known = sorted((size, cost) for size, cost in costs if math.isfinite(cost))
    if len(known) < MIN_SIZES:
        return None
    sizes = np.array([float(size) for size, _ in known])
    least = np.array([cost for _, cost in known])
    start, slope = straight_lines(sizes, least[None])
    if start[0] <= 0 or slope[0] <= 0:
        return None
    off = np.log((start[0] + slope[0] * sizes) / least)
    noise = math.sqrt(float((off**2).sum()) / (len(known) - 2))
    draw = np.random.default_rng(seed).standard_normal((REPLICATES, len(known)))
    starts, slopes = straight_lines(sizes, least * np.exp(widened(noise, len(known)) * draw))
    inverse = np.where(starts > 0, slopes / np.where(starts > 0, starts, 1.0), np.inf)
    low, high = interval(inverse)
    return SingleLine(
        b_crit=float(start[0] / slope[0]),
        low=0.0 if math.isinf(high) else 1 / high,
        high=1 / low if low > 0 else math.inf,
        noise=noise,
        n_sizes=len(known),
    )
