"""Straight lines through medians of runs: fits, bootstrap, and what contradicts a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MIN_SIZES = 3  # two always lie on a line
REPLICATES = 2000
LEVEL = 0.95  # of all intervals
REWEIGHTINGS = 4  # after these the weights of the fit stand still
TOLERATED_FALL = 0.10  # of E from a size to a larger one: practice is no exact line
TOLERATED_MISS = 0.25  # of a size by the line through the others


@dataclass(frozen=True, kw_only=True)
class Medians:
    """Medians of K sizes, and of as many again for each of R replicates."""

    resolution: Array  # (K,), costs are known up to this much
    sizes: Array  # (K,)
    medians: Array  # (K,)
    replicates: Array  # (R, K), seeds drawn again within each size; inf: not reached
    errors: Array  # (K,), standard errors of the medians' logarithms, for tests
    misses: Array  # (1 + R, K), predicted / median - 1; the first row is that of `medians`

    @property
    def names(self) -> list[str]:
        """The names of the sizes, as text."""
        return [f"{size:g}" for size in self.sizes]


def gather(
    used: Sequence[tuple[int, Sequence[float]]],
    rng: np.random.Generator,
    resolution: float,
    *,
    of_steps: bool = False,
) -> Medians:
    """The evidence from batch sizes with their runs' costs, each known up to `resolution`.

    `of_steps`: up to so many times the batch size.
    """
    import numpy as np

    sizes = np.array([float(size) for size, _ in used])
    costs = [np.array(some) for _, some in used]
    medians = np.array([np.median(some) for some in costs])
    drawn = [np.median(rng.choice(some, (REPLICATES, len(some))), axis=1) for some in costs]
    drawn_again = np.stack(drawn, axis=1)
    known_to = resolution * (sizes if of_steps else np.ones_like(sizes))  # (K,)
    rounding = known_to * (rng.random(drawn_again.shape) - 0.5)  # of a size, not of a run
    # No cost is below half of what was counted: one of 1 epoch took between none and one.
    replicates = np.maximum(drawn_again + rounding, 0.5 * drawn_again)
    return Medians(
        resolution=known_to,
        sizes=sizes,
        medians=medians,
        replicates=replicates,
        errors=_errors(replicates, np.array([len(some) for some in costs])),
        misses=_misses(sizes, np.vstack([medians, replicates])),
    )


def _errors(replicates: Array, n_seeds: Array) -> Array:
    """(K,) The standard errors, at least the mean of all sizes: a few seeds may agree by chance."""
    import numpy as np

    own = np.nanvar(np.log(_finite(replicates)), axis=0) * n_seeds / (n_seeds - 1)
    errors: Array = np.sqrt(np.maximum(own, own.mean()))
    return errors


def _misses(sizes: Array, rows: Array) -> Array:
    import numpy as np

    misses = np.empty_like(rows)
    for k in range(len(sizes)):
        others = np.arange(len(sizes)) != k
        start, slope = straight_lines(sizes[others], rows[:, others])
        with np.errstate(invalid="ignore"):
            misses[:, k] = (start + slope * sizes[k]) / rows[:, k] - 1
    misses[~np.isfinite(rows)] = np.nan
    return misses


def _finite(values: Array) -> Array:
    import numpy as np

    return np.where(np.isfinite(values), values, np.nan)


def straight_lines(sizes: Array, medians: Array) -> tuple[Array, Array]:
    """Intercept and slope of each row: least squares of the relative residuals.

    Args:
        sizes: (K,)
        medians: (R, K); sizes that are not finite are left out of their row.

    Returns:
        (R,) and (R,).
    """
    import numpy as np

    scale = sizes.max()
    x = sizes / scale  # (K,), for the condition of the equations
    there = np.isfinite(medians)
    y = np.where(there, medians, 1.0)
    fitted = y
    for _ in range(REWEIGHTINGS):
        weights = there / fitted**2
        w, wx, wxx = (weights @ x**power for power in (0, 1, 2))
        wy, wxy = (weights * y).sum(axis=1), (weights * y) @ x
        with np.errstate(divide="ignore", invalid="ignore"):  # one size alone is no line: NaN
            slope = (w * wxy - wx * wy) / (w * wxx - wx**2)
            start = (wy - slope * wx) / w
        fitted = np.maximum(start[:, None] + slope[:, None] * x, 0.1 * y)  # no weight explodes
    return start, slope / scale


def scatter_of(evidence: Medians, fitted: Array) -> float:
    """Standard deviation of sizes around the line (relative) that their seeds do not explain."""
    import numpy as np

    off = np.log(np.maximum(fitted, 0.1 * evidence.medians) / evidence.medians)
    by_seeds = np.nanvar(np.log(_finite(evidence.replicates)), axis=0).mean()
    found = (off**2).sum() / (len(off) - 2) - by_seeds
    return float(np.sqrt(max(0.0, found)))


def widened(scatter: float, n_sizes: int) -> float:
    """Few sizes know their own scatter badly: as much wider as Student's t is."""
    from scipy.stats import norm, t

    tail = (1 + LEVEL) / 2
    return float(scatter * t.ppf(tail, n_sizes - 2) / norm.ppf(tail))


def interval(values: Array) -> tuple[float, float]:
    """The middle LEVEL of replicates; some may be infinite."""
    import numpy as np

    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values[~np.isnan(values)], [tail, 1 - tail], method="nearest")
    return float(low), float(high)


def grows(evidence: Medians) -> bool:
    """Whether seeds alone leave no doubt that the largest size takes more than the smallest."""
    import numpy as np

    more = np.log(evidence.medians[-1] / evidence.medians[0])
    error = np.hypot(evidence.errors[0], evidence.errors[-1])
    return bool(more > _beyond(1) * error)


def counted_too_coarsely(evidence: Medians) -> str:
    """Why the costs are known too badly for any shape, or ""."""
    spread = evidence.medians.max() - evidence.medians.min()
    if spread <= evidence.resolution.max():
        return (
            f"the sizes differ by {spread:g}, and costs are known up to "
            f"{evidence.resolution.max():g} only: choose a harder target, or record more often"
        )
    early = int((evidence.medians - evidence.resolution).argmin())
    if evidence.medians[early] <= evidence.resolution[early]:
        return (
            f"some size takes {evidence.medians[early]:g}, and costs are known up to "
            f"{evidence.resolution[early]:g} only: choose a harder target, or record more often"
        )
    return ""


def contradiction(evidence: Medians) -> str:
    """Why these medians are no line, or ""."""
    return _fall(evidence) or _miss(evidence)


def _fall(evidence: Medians) -> str:
    """E falls from a size to a larger one, beyond noise and by more than a little."""
    import numpy as np

    medians, names = evidence.medians, evidence.names
    pairs = [(i, j) for j in range(len(medians)) for i in range(j)]
    falls = []
    for i, j in pairs:
        fall, error = 1 - medians[j] / medians[i], np.hypot(evidence.errors[i], evidence.errors[j])
        if fall > TOLERATED_FALL and -np.log1p(-fall) > _beyond(len(pairs)) * error:
            falls.append((fall, i, j))
    if not falls:
        return ""
    fall, i, j = max(falls)
    return (
        f"batch size {names[j]} takes {fall:.0%} less than batch size {names[i]}, which no line "
        f"of positive slope does: {_suspect(evidence)}"
    )


def _miss(evidence: Medians) -> str:
    """The line through the others misses a size, beyond noise and by more than a little."""
    import numpy as np

    logs = np.log(np.maximum(1 + evidence.misses, 0.1))  # (1 + R, K)
    low, high = np.nanquantile(logs[1:], [0.16, 0.84], axis=0)  # far ones would spoil a variance
    own = np.nanvar(np.log(_finite(evidence.replicates)), axis=0)
    wider = np.sqrt(np.square(evidence.errors).mean() / max(own.mean(), 1e-12))
    clear = np.abs(logs[0]) > _beyond(len(own)) * wider * (high - low) / 2
    sizes = np.abs(evidence.misses[0]) * clear
    k = int(np.argmax(sizes))
    if sizes[k] <= TOLERATED_MISS:
        return ""
    where = "below" if evidence.misses[0, k] > 0 else "above"
    return (
        f"batch size {evidence.names[k]} lies {where} the line through the others, which misses "
        f"it by {sizes[k]:.0%}: {_suspect(evidence)}"
    )


def _beyond(n_tests: int) -> float:
    """Standard errors that noise exceeds in one of `n_tests` with probability 1 - LEVEL."""
    from scipy.stats import norm

    return float(norm.isf((1 - LEVEL) / 2 / n_tests))


def _suspect(evidence: Medians) -> str:
    """Names the size without which the others are nearest to a line."""
    import numpy as np

    remedy = "was its learning rate tuned like the others'?"
    if len(evidence.sizes) <= MIN_SIZES:  # any two are a line
        return f"one of them stands out; {remedy}"
    off = []
    for k in range(len(evidence.sizes)):
        others = np.arange(len(evidence.sizes)) != k
        sizes, medians = evidence.sizes[others], evidence.medians[others]
        start, slope = straight_lines(sizes, medians[None])
        off.append(np.square((start + slope * sizes) / medians - 1).sum())
    return f"{evidence.names[int(np.argmin(off))]} stands out; {remedy}"
