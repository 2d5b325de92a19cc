"""How far a metric may be off by chance: many are shares that are counted on a validation split."""

from __future__ import annotations

import math
from collections.abc import Sequence

from batchfront.objectives.metric import Metric

MOST_EXAMPLES = 2000  # the noise of more is small
EXACT = 1e-6  # to which shares are known: tables have six digits, some metrics 24 bits


def skill_noise(metric: Metric, chance: float, shortfalls: Sequence[float]) -> float:
    """Counting noise of a run at chance, in units of what lies between chance and perfect.

    0 where nothing is counted, as for an R2.
    """
    if metric.bound is None or metric.worst is None:
        return 0.0
    share = (chance - metric.worst) / (metric.bound - metric.worst)
    counted = [1 - shortfall * (1 - share) for shortfall in shortfalls]
    return counting_noise(counted, share) / (1 - share)


def counting_noise(shares: Sequence[float], chance: float) -> float:
    """Standard error of a share that lies at `chance`, counted on as many examples as these tell.

    They are the fewest of which each share is a whole number, which is too few rather than too many
    while there are few shares. 0 where there is no such number.
    """
    n = next((n for n in range(1, MOST_EXAMPLES + 1) if _are_whole(shares, n)), None)
    return 0.0 if n is None else math.sqrt(max(0.0, chance * (1 - chance)) / n)


def _are_whole(shares: Sequence[float], n: int) -> bool:
    return all(abs(share - round(share * n) / n) < EXACT for share in shares)
