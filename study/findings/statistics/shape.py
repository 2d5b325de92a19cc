"""Whether one figure per batch size rises, falls, or bends: sizes are what is exchanged.

Sizes differ by more than their seeds do (a learning rate that suits one, a kernel that suits
another), so that runs of a size are no independent witnesses of a trend over sizes. Where the size
did not matter, any order of the sizes' figures would be as likely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MIN_SIZES = 5  # of fewer, some order looks like a trend in more than one of fifty studies
MIN_BENT = 6  # the same for a bend
LEVEL = 0.02  # of false shapes, trends and bends together
ORDERS = 5040  # all of seven sizes; of more sizes as many drawn
TURN = 0.2  # of the whole range: what a side must come back from the extreme for a bend
END = 0.02  # of a slope at an end that is not there, where the rest is a trend
SURE = 2.0  # deviations that it must come back as well


@dataclass(frozen=True, kw_only=True)
class Shape:
    """`turn` is the size of the extreme, where figures seem to come back from it on both sides."""

    n_sizes: int
    correlation: float  # of the figures with the place of the size
    p_trend: float
    turn: int | None
    is_valley: bool  # the extreme is the least figure
    p_bend: float | None  # of a parabola that turns; None of too few sizes, or where it does not

    @property
    def trend(self) -> int:
        """1 where figures rise with the size, -1 where they fall, else 0."""
        level = LEVEL if self.n_sizes < MIN_BENT else LEVEL / 2
        clear = self.turn is None and self.p_trend <= level
        return int(math.copysign(1, self.correlation)) if clear else 0

    @property
    def is_bent(self) -> bool:
        """Whether they come back from an extreme in between on both sides."""
        return self.turn is not None and self.p_bend is not None and self.p_bend <= LEVEL / 2


def shape_of(figures: Mapping[int, float], errors: Sequence[float], *, seed: int) -> Shape:
    """The shape of one figure per size, at least three; `errors`: how well each is known."""
    import numpy as np

    sizes = sorted(figures)
    y = np.array([figures[size] for size in sizes])
    x = np.log2(np.array(sizes, dtype=float))
    line = _basis(np.stack([x]))
    found = float(line[0] @ _unit(y))
    turn, is_valley = _turn(y, np.array(errors))
    bends = turn is not None and len(sizes) >= MIN_BENT and _turns_back(x, y)
    bent = _p_value(_basis(np.stack([x, x**2])), y, seed) if bends else None
    return Shape(
        n_sizes=len(sizes),
        correlation=found,
        p_trend=_p_value(line, y, seed),
        turn=None if turn is None else sizes[turn],
        is_valley=is_valley,
        p_bend=bent,
    )


def mean_ranks(groups: Mapping[int, Sequence[float]]) -> tuple[dict[int, float], list[float]]:
    """The mean rank of each size's runs among all runs, ascending by size, and its errors."""
    import numpy as np
    from scipy.stats import rankdata

    sizes = sorted(groups)
    ranks = rankdata([value for size in sizes for value in groups[size]])
    parts = np.split(ranks, np.cumsum([len(groups[size]) for size in sizes])[:-1])
    errors = [float(part.std(ddof=1)) / math.sqrt(len(part)) for part in parts]
    means = [float(part.mean()) for part in parts]
    return dict(zip(sizes, means, strict=True)), errors


def _turn(y: Array, errors: Array) -> tuple[int | None, bool]:
    """Where the figures turn back the furthest on both sides, and whether that is the least."""
    found = []
    for is_valley in (True, False):
        up = y if is_valley else -y
        at = int(up.argmin())
        if 0 < at < len(y) - 1:
            far = [int(up[:at].argmax()), at + 1 + int(up[at + 1 :].argmax())]
            rises = [float(up[side] - up[at]) for side in far]
            known = [SURE * math.hypot(errors[side], errors[at]) for side in far]
            enough = max(TURN * float(y.max() - y.min()), *known)
            if min(rises) > enough:
                found.append((min(rises), at, is_valley))
    _, turn, is_valley = max(found, default=(0.0, None, True))
    return turn, is_valley


def _turns_back(x: Array, y: Array) -> bool:
    """Whether a parabola's slopes at both ends clearly have opposite signs (Lind, Mehlum 2010)."""
    import numpy as np
    from scipy.stats import t

    design = np.stack([np.ones_like(x), x, x**2], axis=1)
    found = np.linalg.lstsq(design, y, rcond=None)[0]
    free = len(x) - 3
    variance = float(((y - design @ found) ** 2).sum()) / free * np.linalg.inv(design.T @ design)
    ends = np.array([[0.0, 1.0, 2 * end] for end in (x[0], x[-1])])
    slopes = ends @ found
    own = np.sqrt(np.einsum("ej,jk,ek->e", ends, variance, ends))
    clear = bool((np.abs(slopes) > float(t.ppf(1 - END, free)) * own).all())
    return clear and float(slopes[0] * slopes[1]) < 0


def _unit(y: Array) -> Array:
    """Centred, of length 1; 0 where constant."""
    import numpy as np

    y = y - y.mean(axis=-1, keepdims=True)
    length = np.sqrt((y**2).sum(axis=-1, keepdims=True))
    result: Array = y / np.where(length > 0, length, 1.0)
    return result


def _basis(columns: Array) -> Array:
    """(C, K) orthonormal, orthogonal to a constant."""
    import numpy as np

    centred = columns - columns.mean(axis=1, keepdims=True)
    basis: Array = np.linalg.qr(centred.T)[0].T
    signs: Array = basis * np.sign((basis * centred).sum(axis=1, keepdims=True))
    return signs


def _p_value(basis: Array, y: Array, seed: int) -> float:
    """The share of orders of y that the basis explains as well."""
    unit = _unit(y)
    found = float(((basis @ unit) ** 2).sum())
    orders = _orders(len(y), seed)
    others = ((unit[orders] @ basis.T) ** 2).sum(axis=1)
    return float((others >= found - 1e-9).mean())


@cache
def _orders(k: int, seed: int) -> NDArray[np.intp]:
    """(P, k) All orders of k sizes; of many sizes the one there is and others, drawn."""
    import numpy as np

    if math.factorial(k) <= ORDERS:
        return np.array(list(permutations(range(k))))
    random = np.random.default_rng(seed)
    drawn = random.permuted(np.tile(np.arange(k), (ORDERS - 1, 1)), axis=1)
    return np.vstack([np.arange(k), drawn])
