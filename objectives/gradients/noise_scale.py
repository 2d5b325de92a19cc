"""The gradient noise scale tr(Sigma) / |G|^2 at fixed parameters (arXiv:1812.06162).

G is the mean of the examples' gradients and Sigma their covariance. A gradient over a batch of B
examples has E|g_B|^2 = |G|^2 + tr(Sigma) / B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from batchfront.objectives.gradients.draws import Gradients

SMALL, LARGE = 8, 512  # examples of the two batches of a draw; the large one also for per-example
N_DRAWS = 200
REPLICATES = 2000
LEVEL = 0.95  # of intervals
SIZES = tuple(2**k for k in range(10))  # of the distribution of norms

Watch = Callable[[int], None]  # is told how many draws more are done


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Unbiased estimates from one draw. Either may be negative."""

    trace: float  # tr(Sigma)
    square: float  # |G|^2


@dataclass(frozen=True, kw_only=True)
class NoiseScale:
    """The ratio of means over draws; None with a reason where |G|^2 is not clearly positive."""

    method: str  # "two_sizes" or "per_example"
    trace: float
    square: float
    square_low: float
    square_high: float
    n_draws: int
    scale: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def two_sizes(small: float, large: float, *, sizes: tuple[int, int]) -> Draw:
    """The draw from squared norms at two batch sizes (arXiv:1812.06162, appendix A.1)."""
    b_small, b_large = sizes
    return Draw(
        trace=(small - large) / (1 / b_small - 1 / b_large),
        square=(b_large * large - b_small * small) / (b_large - b_small),
    )


def per_example(mean_square: float, square_of_mean: float, *, n: int) -> Draw:
    """The draw from the norms of n examples' gradients and that of their mean."""
    trace = n / (n - 1) * (mean_square - square_of_mean)
    return Draw(trace=trace, square=square_of_mean - trace / n)


def noise_scale(draws: Sequence[Draw], *, method: str, seed: int = 0) -> NoiseScale:
    """The ratio of means (the mean of ratios is biased), with a bootstrap over draws."""
    import numpy as np

    pairs = np.array([(draw.trace, draw.square) for draw in draws])  # (D, 2)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(pairs), size=(REPLICATES, len(pairs)))  # (R, D)
    trace, square = pairs.mean(axis=0)
    traces, squares = (pairs[:, column][chosen].mean(axis=1) for column in (0, 1))  # (R,)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    square_low, square_high = np.quantile(squares, tails)
    found = NoiseScale(
        method=method,
        trace=float(trace),
        square=float(square),
        square_low=float(square_low),
        square_high=float(square_high),
        n_draws=len(draws),
    )
    if square_low <= 0:
        reason = (
            f"|G|^2 is {square:.3g} ({square_low:.3g} to {square_high:.3g}), not clearly positive: "
            "the gradient drowns in its noise; take more draws"
        )
        return replace(found, reason=reason)
    # Some replicates beyond the interval of |G|^2 may be at or below 0: no bound above.
    ratios = np.where(squares > 0, traces / np.where(squares > 0, squares, 1.0), np.inf)
    low, high = np.quantile(ratios, tails, method="nearest")
    return replace(found, scale=float(trace / square), low=float(low), high=float(high))


def measure_two_sizes(
    gradients: Gradients, *, n_draws: int, generator: torch.Generator, watch: Watch
) -> list[Draw]:
    """Each draw a small and a large batch of its own, as training would meet them."""
    large = max(2 * SMALL, min(LARGE, gradients.n_train))
    draws = []
    for _ in range(n_draws):
        a, b = (gradients.square(gradients.draw(n, generator)) for n in (SMALL, large))
        draws.append(two_sizes(a, b, sizes=(SMALL, large)))
        watch(1)
    return draws


def measure_per_example(
    gradients: Gradients, *, n_draws: int, generator: torch.Generator, watch: Watch
) -> list[Draw]:
    """Each draw the gradients of as many examples as the large batch of `measure_two_sizes`."""
    n = max(2 * SMALL, min(LARGE, gradients.n_train))
    draws = []
    for _ in range(n_draws):
        norms = gradients.of_examples(gradients.draw(n, generator))
        draws.append(per_example(norms.mean_square, norms.square_of_mean, n=n))
        watch(1)
    return draws


class Moments:
    """Mean and standard deviation of what is added, without keeping it (Welford 1962)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = 0.0
        self._squares = 0.0  # sum of squared deviations

    def add(self, value: float) -> None:
        """One value more."""
        self.n += 1
        off = value - self.mean
        self.mean += off / self.n
        self._squares += off * (value - self.mean)

    @property
    def sd(self) -> float:
        """The standard deviation of the sample; NaN for fewer than two values."""
        return math.sqrt(self._squares / (self.n - 1)) if self.n > 1 else math.nan


def norm_moments(
    gradients: Gradients,
    sizes: Sequence[int],
    *,
    n_draws: int,
    generator: torch.Generator,
    watch: Watch,
) -> dict[int, Moments]:
    """The distribution of the gradient's norm over batches of each size."""
    found = {}
    for size in sizes:
        moments = found[size] = Moments()
        for _ in range(n_draws):
            moments.add(math.sqrt(gradients.square(gradients.draw(size, generator))))
            watch(1)
    return found
