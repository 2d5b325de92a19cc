"""Whether the costs follow a straight line in the batch size, or bend: E = e_min (1 + (B / b)^p).

A line has the exponent p = 1. It is the shape for which one critical size says all; costs that stay
level for longer and then rise faster (p above 1), or rise early and slowly (p below), have another
size up to which they take a fifth more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.study.findings.critical.medians import interval, straight_lines, widened

if TYPE_CHECKING:
    import numpy as np

    from batchfront.study.findings.critical.medians import Array, Medians

MIN_SIZES = 5  # of fewer, three parameters leave too little to judge them by
EXPONENTS = tuple(2 ** (k / 6) for k in range(-10, 12))  # 0.3 to 3.6, with 1 among them
OVERHEAD = 0.2


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The curve nearest to the medians, and how well its shape is known."""

    exponent: float
    low: float  # of the exponent's interval
    high: float
    e_min: float  # extrapolated
    e_min_low: float
    e_min_high: float
    fifth: float  # the size that takes a fifth more than e_min; at least 1
    fifth_low: float
    fifth_high: float

    @property
    def is_bent(self) -> bool:
        """Whether no line is among the shapes that the runs allow."""
        return not self.low <= 1 <= self.high


def curve_of(evidence: Medians, rng: np.random.Generator) -> Curve | None:
    """The curve through medians of K sizes; None where these are too few, or never rise."""
    import numpy as np

    k = len(evidence.sizes)
    if k < MIN_SIZES:
        return None
    exponents, start, slope, missed = _nearest(evidence.sizes, evidence.medians[None])
    if not math.isfinite(float(missed[0])):
        return None
    replicates = evidence.replicates
    by_seeds = float(np.nanvar(np.log(_positive(replicates)), axis=0).mean())
    scatter = math.sqrt(max(0.0, float(missed[0]) / (k - 3) - by_seeds))
    noise = np.exp(widened(scatter, k - 1) * rng.standard_normal(replicates.shape))
    some, starts, slopes, off = _nearest(evidence.sizes, replicates * noise)
    rising = np.isfinite(off)
    if rising.mean() < 0.5:
        return None
    low, high = interval(some[rising])
    e_low, e_high = interval(starts[rising])
    fifth_low, fifth_high = interval(_fifth(some, starts, slopes)[rising])
    return Curve(
        exponent=float(exponents[0]),
        low=low,
        high=high,
        e_min=float(start[0]),
        e_min_low=e_low,
        e_min_high=e_high,
        fifth=float(_fifth(exponents, start, slope)[0]),
        fifth_low=fifth_low,
        fifth_high=fifth_high,
    )


def _fifth(exponents: Array, start: Array, slope: Array) -> Array:
    """No batch is smaller than 1, where a curve that rises early would have it."""
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        size: Array = (OVERHEAD * start / slope) ** (1 / exponents)
    return np.maximum(size, 1.0)


def _positive(values: Array) -> Array:
    import numpy as np

    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _nearest(sizes: Array, rows: Array) -> tuple[Array, Array, Array, Array]:
    """Each row's nearest curve: exponent, start, slope, and what it misses, squared; rows (R, K).

    The last is infinite where no curve that rises from above 0 passes near.
    """
    import numpy as np

    best = np.full(len(rows), np.inf)
    found = np.ones((3, len(rows)))
    logs = np.log(_positive(rows))
    for exponent in EXPONENTS:
        powers = sizes**exponent
        start, slope = straight_lines(powers, rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            fitted = np.log(start[:, None] + slope[:, None] * powers)
            missed = np.nansum((fitted - logs) ** 2, axis=1)
        missed = np.where((start > 0) & (slope > 0), missed, np.inf)
        better = missed < best
        best = np.where(better, missed, best)
        now = np.stack([np.full(len(rows), exponent), start, slope])
        found = np.where(better, now, found)
    return found[0], found[1], found[2], best
