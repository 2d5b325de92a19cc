"""How the error depends on what is searched: a Gaussian process on log error.

Learning rates that work rise with the batch size, so the process does not see the learning rate
itself but how far it lies from a tilted line: log2(rate) - tilt * log2(batch size). What is learned
in cheap runs at large batch sizes then holds for expensive ones at small sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from batchfront.study.machine.threads import one_blas_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

TILTS = (0.0, 0.25, 0.5, 0.75, 1.0)
USUAL_TILT, TILT_SPREAD = 0.5, 0.4  # square-root scaling; a normal prior, as those below
USUAL_AMPLITUDE, AMPLITUDE_SPREAD = math.log(1.0), 1.0  # variance of log error, over the space
USUAL_SIZE_SCALE, SIZE_SPREAD = math.log(5.0), 0.6  # doublings of the batch size, along the line
USUAL_RATE_SCALE, RATE_SPREAD = math.log(3.0), 0.5  # doublings of the learning rate, off the line
USUAL_SCALE, SCALE_SPREAD = math.log(1.0), 0.7  # of any further parameter's whole range
USUAL_NOISE, NOISE_SPREAD = math.log(0.01), 0.7  # variance of log error between seeds
ROUGH = 0.5
"""Of what looks like noise this share is taken for bumps of the surface, narrower than the trend: a
place beside one that was tried is worth more than the same place again."""
ROUGH_SIZE, ROUGH_RATE, ROUGH_OWN = 1.0, 1.0, 0.3  # how narrow: doublings, and of a range
WIDE = 3.0  # spreads that the search for the shape may go
MAX_STEPS = 25  # of that search
JITTER = 1e-8  # on the diagonal, for the Cholesky factor


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What is believed of the noise before there is data."""

    usual: float = USUAL_NOISE
    spread: float = NOISE_SPREAD
    rough: float = ROUGH


SEARCHED = Noise()
BELIEVED = Noise(usual=math.log(0.04), spread=0.7, rough=0.25)
"""A fifth of an error between seeds. The search believes in less and in more bumps, which makes it
look around; where a number is promised, what looks like a bump is rather luck."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Hyperparameters; the most probable ones of some data, or the usual ones."""

    tilt: float = USUAL_TILT
    theta: tuple[float, ...]  # logs of: amplitude, scales of size, rate and the rest, noise
    rough: float = ROUGH

    @property
    def noise(self) -> float:
        """Variance of log error between seeds."""
        return math.exp(self.theta[-1])

    @property
    def white(self) -> float:
        """The part of it that is taken for noise, and not for bumps."""
        return (1 - self.rough) * self.noise

    @property
    def bumps(self) -> float:
        """The other part."""
        return self.rough * self.noise


def usual_shape(n_columns: int, believed: Noise = SEARCHED) -> Shape:
    """The shape that is used before there is enough data for another."""
    return Shape(theta=tuple(_prior(n_columns, believed)[0]), rough=believed.rough)


@one_blas_thread()
def fit_shape(x: Array, y: Array, noise: Array, believed: Noise = SEARCHED) -> Shape:
    """The shape of largest posterior density for x, (N, D), y and its extra variance, (N,)."""
    from scipy.optimize import minimize

    usual, spread = _prior(x.shape[1], believed)
    bounds = list(zip(usual - WIDE * spread, usual + WIDE * spread, strict=True))
    best = (math.inf, Shape(theta=tuple(usual), rough=believed.rough))
    for tilt in TILTS:
        process = _process(usual, noise).fit(_tilted(x, tilt), y - y.mean())

        def loss(theta: Array, process: Any = process) -> tuple[float, Array]:
            off = (theta - usual) / spread
            value, slope = process.log_marginal_likelihood(theta, True, clone_kernel=False)
            return 0.5 * off @ off - value, off / spread - slope

        found = minimize(
            loss, usual, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": MAX_STEPS}
        )
        value = found.fun + 0.5 * ((tilt - USUAL_TILT) / TILT_SPREAD) ** 2
        if value < best[0]:
            best = (value, Shape(tilt=tilt, theta=tuple(found.x), rough=believed.rough))
    return best[1]


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A guess of the log error of M candidates, each a normal distribution."""

    mean: Array  # (M,) of log(error + TIE)
    deviation: Array  # (M,)


class Surface:
    """What is known of log error, given N observations and a shape."""

    @one_blas_thread()
    def __init__(self, x: Array, y: Array, noise: Array, shape: Shape) -> None:
        """`x`: (N, D); `y`: (N,); `noise`: (N,) variance beyond that between seeds."""
        import numpy as np

        self._tilt = shape.tilt
        self._mean = float(y.mean())
        theta = np.array(shape.theta)
        process = _process(theta, noise + shape.white, bumps=shape.bumps)
        self._process = process.fit(_tilted(x, shape.tilt), y - self._mean)

    @one_blas_thread()
    def mean(self, x: Array) -> Array:
        """Log error at x, (M, D), as `guess` has it: (M,). Deviations take hundreds of times it."""
        mean: Array = self._process.predict(_tilted(x, self._tilt)) + self._mean
        return mean

    @one_blas_thread()
    def guess(self, x: Array) -> Guess:
        """Log error at x, (M, D), without noise."""
        mean, deviation = self._process.predict(_tilted(x, self._tilt), return_std=True)
        return Guess(mean=mean + self._mean, deviation=deviation)

    @one_blas_thread()
    def draws(self, x: Array, n: int, *, seed: int) -> Array:
        """Log error at x, (M, D), as n whole surfaces have it that the data allow: (n, M)."""
        found: Array = self._process.sample_y(_tilted(x, self._tilt), n, random_state=seed).T
        return found + self._mean


def _prior(n_columns: int, believed: Noise) -> tuple[Array, Array]:
    import numpy as np

    n_more = n_columns - 2
    scales = [USUAL_SIZE_SCALE, USUAL_RATE_SCALE] + n_more * [USUAL_SCALE]
    spreads = [SIZE_SPREAD, RATE_SPREAD] + n_more * [SCALE_SPREAD]
    usual = np.array([USUAL_AMPLITUDE, *scales, believed.usual])
    return usual, np.array([AMPLITUDE_SPREAD, *spreads, believed.spread])


def load_libraries() -> None:
    """Import what a process needs: a second of work, which nobody should wait for under a lock."""
    for name in ("scipy.optimize", "scipy.special", "sklearn.gaussian_process"):
        import_module(name)


def _process(theta: Array, noise: Array, *, bumps: float | None = None) -> Any:
    """A process of the kernel that `_kernel` gives."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    kernel = _kernel(theta, bumps=bumps)
    return GaussianProcessRegressor(kernel, alpha=noise + JITTER, optimizer=None)


def covariance(shape: Shape, a: Array, b: Array) -> Array:
    """The covariance of log error at a, (N, D), and b, (M, D), without noise: (N, M)."""
    import numpy as np

    kernel = _kernel(np.array(shape.theta), bumps=shape.bumps)
    found: Array = kernel(_tilted(a, shape.tilt), _tilted(b, shape.tilt))
    return found


def _kernel(theta: Array, *, bumps: float | None) -> Any:
    """Matern 5/2 with bumps of that variance; None: with noise, to be fitted."""
    import numpy as np
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    anywhere = (1e-12, 1e12)  # ours is the prior, not scikit-learn's bounds
    kernel = ConstantKernel(np.exp(theta[0]), anywhere) * Matern(
        np.exp(theta[1:-1]), length_scale_bounds=anywhere, nu=2.5
    )
    if bumps is None:
        kernel += WhiteKernel(np.exp(theta[-1]), anywhere)
    elif bumps > 0:
        near = np.array([ROUGH_SIZE, ROUGH_RATE] + (len(theta) - 4) * [ROUGH_OWN])
        kernel += ConstantKernel(bumps, anywhere) * Matern(
            near, length_scale_bounds=anywhere, nu=1.5
        )
    return kernel


def _tilted(x: Array, tilt: float) -> Array:
    tilted = x.copy()
    tilted[:, 1] -= tilt * x[:, 0]
    return tilted
