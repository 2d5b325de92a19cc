"""Do neighbouring batch sizes differ, each at its best rate?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from batchfront.study.findings.claims.claim import (
    AGREE,
    CONFIDENCE,
    DISAGREE,
    Claim,
    Runs,
    not_shown,
)
from batchfront.study.findings.rates.best import RateEstimate
from batchfront.study.show import counted

BARELY = 0.01  # of standard values: sizes that differ by less barely differ


def neighbours_barely_differ(name: str, evidence: Runs) -> Claim:
    """The metric of B and 2B, each at its best rate. Agree: all intervals lie within 0.01 (of
    standard values) of zero. Disagree: one lies beyond."""
    import numpy as np

    tuned = evidence.tuned
    pairs = [(size, 2 * size) for size in tuned if 2 * size in tuned]
    if len(pairs) < 2:
        paired = {size for pair in pairs for size in pair}
        left = evidence.left_out(paired, "tuned, but neither half nor twice of it is")
        why = f"{counted(len(pairs), 'pair')} of tuned sizes B and 2B, wanted 2"
        return not_shown(name, why, left_out=left)
    tail = (1 - CONFIDENCE) / 2 / len(pairs)  # all pairs together
    own = evidence.by.own_difference
    barely = abs(own(BARELY))
    intervals = {}
    for a, b in pairs:
        low, high = sorted(map(own, _normal_interval(tuned[a], tuned[b], tail)))
        intervals[f"{a}-{b}"] = [round(low, 4), round(high, 4)]
    lows, highs = np.array(list(intervals.values())).T
    widest = max(intervals, key=lambda pair: max(map(abs, intervals[pair])))
    text = f"least sure of {len(pairs)} pairs: {widest}, {_signed(intervals[widest])}"
    figures = {"differences": intervals}
    apart = [pair for pair, (low, high) in intervals.items() if low > barely or high < -barely]
    if apart:
        text = f"{apart[0]} differ by {_signed(intervals[apart[0]])}"
        return Claim(name=name, verdict=DISAGREE, figures=figures, text=text)
    if lows.min() >= -barely and highs.max() <= barely:
        return Claim(name=name, verdict=AGREE, figures=figures, text=text)
    return not_shown(name, f"{text}: wider than {barely:g}", figures)


def _signed(interval: Sequence[float]) -> str:
    return f"{interval[0]:+.3f} to {interval[1]:+.3f}"


def _normal_interval(a: RateEstimate, b: RateEstimate, tail: float) -> tuple[float, float]:
    """The interval of `a`'s standard value less `b`'s: draws are too few for so thin tails."""
    from statistics import NormalDist

    middle = float(b.error_draws.mean() - a.error_draws.mean())
    radius = NormalDist().inv_cdf(1 - tail) * math.hypot(
        float(a.error_draws.std()), float(b.error_draws.std())
    )
    return middle - radius, middle + radius
