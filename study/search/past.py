"""Earlier studies as evidence: how far they agree with this one is learned from its own runs.

An earlier study's surface and this one's are two draws of one process, whose correlation, rho,
says how far they agree (a multi-task process, Swersky et al. 2013, of two tasks). This one may also
lie higher or lower altogether. What its own runs are as likely to have shown without an earlier
study as with it, is searched without it: as if there were none.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from batchfront.study.plan.past import PastRun, PastRuns
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.evidence import Evidence
from batchfront.study.search.surface import (
    JITTER,
    Guess,
    Shape,
    covariance,
    fit_shape,
    usual_shape,
)
from batchfront.study.trials.attributes import batch_size_of, has_batch_size, rate_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from optuna.trial import FrozenTrial

    from batchfront.objectives.metric import Metric
    from batchfront.objectives.parameter import Parameter
    from batchfront.study.plan.space import SearchSpace
    from batchfront.study.search.observations import Observations, Part

    Array = NDArray[np.float64]

MOST_RUNS = 200  # that are kept of a study: half of them the best
LEAST_TO_FIT, MOST_TO_FIT = 8, 128  # runs, for a shape of their own
AGREEMENTS = (0.97, 0.9, 0.99, 0.7)  # rho: the most likely is taken, of equals the first
LEVEL = 0.5**2  # variance of how much higher or lower this study lies, where the two agree
ANY_LEVEL = 1.5**2  # and where nothing is known
MOST_ROUNDED = 1.0  # variance of log error, where one validation example more is much of it
SURE = 0.25  # variance of a failure's log error, where it speaks for or against a study


def past_runs(
    source: str, trials: Iterable[FrozenTrial], *, space: SearchSpace, metric: Metric
) -> PastRuns | None:
    """What a new study of that space keeps of an earlier one's trials; None: they tell nothing."""
    import numpy as np

    encoding = Encoding(space)
    known = [_as_asked(t, space) for t in trials if _has_params(t)]
    evidence = Evidence(
        known, encoding=encoding, costs={}, is_here=lambda trial: False, metric=metric
    )
    seen = evidence.observations()
    if not np.isfinite(seen.metric).any():
        return None
    kept = _kept(seen.error)
    part, yardstick = seen.part(kept), evidence.yardstick
    params = {t.number: {name: t.params[name] for name in encoding.names} for t in known}
    runs = [
        PastRun(
            params=params[int(seen.numbers[row])],
            log_error=float(part.log_error[at]),
            noise=float(part.noise[at]),
            failed=bool(seen.failed[row]),
        )
        for at, row in enumerate(kept)
    ]
    shape = _shape_of(part, encoding.n_columns)
    completed = seen.measured[kept][~seen.failed[kept]]
    return PastRuns(
        source=source, runs=tuple(runs), factor=yardstick.factor, offset=yardstick.offset,
        tilt=shape.tilt, theta=shape.theta, usual_error=float(np.nanmedian(completed)),
    )  # fmt: skip


def _has_params(trial: FrozenTrial) -> bool:
    return has_batch_size(trial.params) and "learning_rate" in trial.params


def _as_asked(trial: FrozenTrial, space: SearchSpace) -> FrozenTrial:
    """The trial with the parameters of another space: what it does not have is as it was probed."""
    size = batch_size_of(trial.params)
    said = {**trial.user_attrs, **trial.params}  # an import keeps parameters as attributes
    own = {name: _own(said.get(name), p) for name, p in space.search.items()}
    found = copy.copy(trial)
    rate = rate_of(trial) / space.scale.factor(size)
    found.params = {"batch_size": size, "learning_rate": rate, **own}
    return found


def _own(value: Any, parameter: Parameter) -> Any:
    """A value as the parameter has it, the nearest end of its range; else that of a probe."""
    if parameter.choices:
        return value if value in parameter.choices else parameter.probed
    if isinstance(value, bool) or not isinstance(value, int | float):
        return parameter.probed
    return min(max(value, parameter.low or 0), parameter.high or 0)


def _kept(error: Array) -> NDArray[np.intp]:
    """Rows of the best runs, and of the others evenly; in their order."""
    import numpy as np

    if len(error) <= MOST_RUNS:
        return np.arange(len(error))
    order = np.argsort(error, kind="stable")
    best, rest = order[: MOST_RUNS // 2], np.sort(order[MOST_RUNS // 2 :])
    some = np.linspace(0, len(rest) - 1, MOST_RUNS - len(best)).astype(int)
    return np.sort(np.append(best, rest[some]))


def _shape_of(part: Part, n_columns: int) -> Shape:
    import numpy as np

    n = len(part.log_error)
    if n < LEAST_TO_FIT:
        return usual_shape(n_columns)
    some = np.linspace(0, n - 1, min(n, MOST_TO_FIT)).astype(int)
    return fit_shape(part.x[some], part.log_error[some], part.noise[some])


class Past:
    """One earlier study, ready to be held against runs."""

    def __init__(self, kept: PastRuns, encoding: Encoding) -> None:
        import numpy as np

        self.kept = kept
        self.shape = Shape(tilt=kept.tilt, theta=kept.theta)
        self.x = np.array([encoding.row(run.params) for run in kept.runs])
        self.failed = np.array([run.failed for run in kept.runs])
        self._y = np.array([run.log_error for run in kept.runs])
        self._noise = np.array([run.noise for run in kept.runs])
        self.best = float(self._y.min())

    def likelihood(self, part: Part, agreement: float | None) -> float:
        """Log density of what runs have shown; None: the earlier study says nothing of it."""
        import numpy as np

        noise = np.minimum(part.noise, SURE)
        noise += np.minimum((self._resolution / np.exp(part.log_error)) ** 2, MOST_ROUNDED)
        rho, level = (0.0, ANY_LEVEL) if agreement is None else (agreement, LEVEL)
        found = Conditional(self, rho, level, part.x, noise)
        return found.log_density(part.log_error)

    def surface(self, x: Array, y: Array, noise: Array, agreement: float) -> PastSurface:
        """The surface of this study, given x, (N, D), y, (N,), and its extra variance, (N,)."""
        return PastSurface(Conditional(self, agreement, LEVEL, x, noise), y)

    @cached_property
    def _resolution(self) -> float:
        """The least difference of errors: one validation example, where those are counted."""
        import numpy as np

        steps = np.diff(np.unique(np.exp(self._y)))
        return float(steps.min()) if len(steps) else 0.0

    @cached_property
    def solved(self) -> tuple[Array, Array]:
        """The Cholesky factor of the runs' covariance, and what it makes of their log errors."""
        from scipy.linalg import solve_triangular

        factor = self._factor
        return factor, solve_triangular(factor, self._y - self.mean, lower=True)

    @cached_property
    def _factor(self) -> Array:
        import numpy as np

        covariance = self.covariance(self.x, self.x)
        covariance += np.diag(self._noise + self.shape.white + JITTER)
        factor: Any = np.linalg.cholesky(covariance)
        return cast("Array", factor)

    @cached_property
    def mean(self) -> float:
        """The mean log error, of the surface: a search has most of its runs where they are good."""
        import numpy as np
        from scipy.linalg import solve_triangular

        ones = solve_triangular(self._factor, np.ones(len(self._y)), lower=True)
        told = solve_triangular(self._factor, self._y, lower=True)
        return float(ones @ told / (ones @ ones))

    @property
    def variance(self) -> float:
        """The variance of log error at any one place."""
        return math.exp(self.shape.theta[0]) + self.shape.bumps

    def covariance(self, a: Array, b: Array) -> Array:
        """The covariance of log error at a, (N, D), and b, (M, D), within one study: (N, M)."""
        return covariance(self.shape, a, b)


class Conditional:
    """What an earlier study says of places of this one, given how far the two agree."""

    def __init__(self, past: Past, rho: float, level: float, x: Array, noise: Array) -> None:
        """`x`: (N, D) where this study's runs are, `noise`: (N,) of them beyond that of seeds."""
        import numpy as np

        self._past, self._rho, self._level, self._x = past, rho, level, x
        self._pull = self._pulled(x)
        covariance = past.covariance(x, x) + level - self._pull.T @ self._pull
        covariance += np.diag(noise + past.shape.white + JITTER)
        self._factor = np.linalg.cholesky(covariance)

    def _pulled(self, x: Array) -> Array:
        """(P, N) solved covariances with the P earlier runs."""
        from scipy.linalg import solve_triangular

        across = self._rho * self._past.covariance(self._past.x, x)
        found: Array = solve_triangular(self._past.solved[0], across, lower=True)
        return found

    def _expected(self, pull: Array) -> Array:
        found: Array = self._past.mean + pull.T @ self._past.solved[1]
        return found

    def rest(self, y: Array) -> Array:
        """(N,) What the runs' log errors are beyond what is expected, in independent units."""
        from scipy.linalg import solve_triangular

        off = y - self._expected(self._pull)
        found: Array = solve_triangular(self._factor, off, lower=True)
        return found

    def log_density(self, y: Array) -> float:
        """The log density of the runs' log errors, (N,)."""
        import numpy as np

        rest = self.rest(y)
        scale = np.log(np.diag(self._factor)).sum()
        return float(-0.5 * rest @ rest - scale - 0.5 * len(y) * math.log(2 * math.pi))

    def at(self, x: Array, rest: Array) -> tuple[Array, Array]:
        """Means and variances, (M,) each, of log error at x, (M, D), without noise."""
        from scipy.linalg import solve_triangular

        pull = self._pulled(x)
        across = self._past.covariance(self._x, x) + self._level - self._pull.T @ pull  # (N, M)
        own = solve_triangular(self._factor, across, lower=True)
        mean = self._expected(pull) + own.T @ rest
        variance = self._past.variance + self._level - (pull**2).sum(axis=0) - (own**2).sum(axis=0)
        return mean, variance


class PastSurface:
    """What is known of log error, given runs of this study and an earlier one; as `Surface`."""

    def __init__(self, known: Conditional, y: Array) -> None:
        self._known = known
        self._rest = known.rest(y)

    def mean(self, x: Array) -> Array:
        """Log error at x, (M, D), as `guess` has it: (M,)."""
        return self._known.at(x, self._rest)[0]

    def guess(self, x: Array) -> Guess:
        """Log error at x, (M, D), without noise."""
        import numpy as np

        mean, variance = self._known.at(x, self._rest)
        return Guess(mean=mean, deviation=np.sqrt(np.maximum(variance, JITTER)))


class Belief(NamedTuple):
    """An earlier study that explains what runs have shown."""

    gain: float  # of log density, over none
    past: Past
    agreement: float


def believed(pasts: Sequence[Past], part_of: Callable[[Past], Part]) -> Belief | None:
    """The earlier study that explains best what runs have shown, and how far the two agree.

    None where the runs speak against all of them. `part_of`: the runs, as that study measures them.
    """
    best: Belief | None = None
    for past in pasts:
        part = part_of(past)
        without = past.likelihood(part, None)
        for agreement in AGREEMENTS:
            gain = past.likelihood(part, agreement) - without
            if gain >= 0 and (best is None or gain > best.gain):
                best = Belief(gain, past, agreement)
    return best


def with_past(seen: Observations, past: Past | None) -> tuple[Array, NDArray[np.bool_]]:
    """Where runs were, (N, D), and which of them failed, the earlier ones too."""
    import numpy as np

    if past is None:
        return seen.x, seen.failed
    return np.vstack([seen.x, past.x]), np.append(seen.failed, past.failed)
