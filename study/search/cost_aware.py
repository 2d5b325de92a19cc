"""The default sampler: time and memory are known, so only the error has to be learned.

A cheap start fills the range of learning rates at the batch sizes that train quickly. From then on
a Gaussian process (`surface`) says what each candidate's error may be, and the one is run that is
worth most for its cost: expected gain in hypervolume a second, plus a little for the best accuracy
of its own batch size. The small, expensive sizes add next to nothing to the hypervolume, and are
what people ask about.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler

from batchfront.study.search.chances import news, success
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.feasible import Feasible
from batchfront.study.search.forwarding import Forwarding
from batchfront.study.search.gains import Plane, expected_below
from batchfront.study.search.learner import Learner
from batchfront.study.search.observations import Observations
from batchfront.study.search.prices import Prices
from batchfront.study.search.samplers import PerTrialSampler
from batchfront.study.search.surface import TIE, Guess, Shape, Surface
from batchfront.study.trials.attributes import derive_seed

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from numpy.typing import NDArray
    from optuna.trial import FrozenTrial

    from batchfront.study.plan.limits import Limits
    from batchfront.study.plan.space import SearchSpace

    Array = NDArray[np.float64]

N_START = 6  # trials of the cheap start
START_POWER = 2.0  # a start's batch size is drawn with probability 1 / seconds ** this
MAX_OBSERVATIONS = 500  # of the process: the newest half, and every so many of the rest
MAX_BEST = 128  # runs of a size that may be its best: the process is asked about each
WORST = 2.0  # median errors: a run worse than that is worth nothing
LEAST_WORST, LEAST_ALLOWED = 0.02, 0.001
MAX_CORNERS, ROUNDED = 64, 16  # costs told apart; else to so many parts of the plane's width
DUE = 0.003
"""Weight of a batch size's own best accuracy, relative to the hypervolume, and whatever it costs:
small sizes are expensive, and get theirs when little hypervolume is left to be had cheaply."""


class CostAwareSampler(Forwarding):
    """Draws depend only on the seed, the trial's number and the study so far."""

    def __init__(
        self,
        *,
        space: SearchSpace,
        seed: int,
        hardware: str,
        limits: Callable[[optuna.Study], Limits],
    ) -> None:
        """`limits`: what is known of costs, and which sizes cannot run."""
        # Parameters that are not ours are drawn at random.
        super().__init__(PerTrialSampler(lambda number: RandomSampler(seed=number), seed=seed))
        self._space = space
        self._encoding = Encoding(space)
        self._learner = Learner(encoding=self._encoding, hardware=hardware)
        self._seed = seed
        self._limits = limits

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space.distributions()

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        import numpy as np

        draw = np.random.default_rng(derive_seed(self._seed, trial.number, purpose="cost-aware"))
        limits = self._limits(study)
        learner = self._learner
        evidence, unfinished = learner.follow(study, limits.costs)
        seen, running = evidence.observations(), learner.running(unfinished)
        prices = learner.prices(limits, seen)
        feasible = Feasible(
            encoding=self._encoding, limits=limits, prices=prices,
            out_of_memory=evidence.out_of_memory,
        )  # fmt: skip
        if len(seen) + len(running) < N_START or not seen.counts.any():
            row = self._cheap(feasible, prices, trial.number, draw)
        else:
            shape = learner.shape(seen, evidence)
            good = seen.x[seen.counts]
            candidates = self._encoding.candidates(self._space.batch_sizes, good, draw)
            share = feasible.share(candidates)
            if share.any():
                candidates, share = candidates[share > 0], share[share > 0]
            least = limits.budgets.least_metric
            worst = worst_error(seen, None if least is None else evidence.yardstick.standard(least))
            worth = _worth(seen, running, candidates, prices, shape, worst)
            # What is too dear for the budget counts in what others are worth: so the search is the
            # one that it would be without a budget, until that would run what it cannot afford.
            affordable = feasible.affordable(candidates)
            score = np.where(affordable, worth * share, -1.0) if affordable.any() else worth * share
            row = candidates[np.argmax(score)]
        return self._encoding.params(row.tolist())

    def _cheap(
        self, feasible: Feasible, prices: Prices, number: int, draw: np.random.Generator
    ) -> Array:
        import numpy as np

        offset = derive_seed(self._seed, 0, purpose="start") / 2**31
        logs = map(math.log2, self._space.batch_sizes)
        rows = np.array([self._encoding.start(size, number, offset, draw) for size in logs])
        weight = prices.of(rows)[:, 0] ** -START_POWER
        share = feasible.share(rows)
        weight *= share if share.any() else 1.0
        chosen, affordable = (
            draw.choice(len(rows), p=weight / weight.sum()),
            feasible.affordable(rows),
        )
        if not affordable[chosen] and (weight * affordable).any():
            weight *= affordable
            chosen = draw.choice(len(rows), p=weight / weight.sum())
        row: Array = rows[chosen]
        return row


def worst_error(seen: Observations, min_metric: float | None) -> float:
    """The error from which on a run is worth nothing."""
    import numpy as np

    usual = max(WORST * float(np.median(seen.measured[seen.counts])), LEAST_WORST)
    allowed = 1.0 if min_metric is None else max(1 - min_metric, LEAST_ALLOWED)
    return min(usual, allowed, 1.0)


def _worth(
    seen: Observations,
    running: Array,
    candidates: Array,
    prices: Prices,
    shape: Shape,
    worst: float,
) -> Array:
    """What each candidate is worth for its cost; (M,)."""
    import numpy as np

    surface, told, error = _known(seen, running, shape)
    guess = surface.guess(candidates)
    price, spent = prices.of(candidates), prices.of(told)
    ended = seen.x[seen.counts]  # the first of what is told: their own steps are known
    spent[: len(ended)] = prices.whole(ended)
    spent[: len(ended), 0] *= seen.share[seen.counts]
    scaled = _scale(np.vstack([spent, price]))
    corners, group = _grouped(scaled[len(told) :])
    plane = Plane(scaled[: len(told)], error, corners=corners, worst=worst)
    volume = plane.expected_gains(guess, corners, group) / max(plane.volume, 1e-9)
    due = _due(told, error, surface, guess, candidates, worst) / worst
    times = price[:, 0] / price[:, 0].min()
    worth = volume / times + DUE * due
    chances: Array = worth * news(guess, shape) * success(seen, candidates)
    return chances


def _known(seen: Observations, running: Array, shape: Shape) -> tuple[Surface, Array, Array]:
    """The surface, and of what may be on the front its rows, (F, D), and errors, (F,).

    Runs that are under way count as if they had ended as expected, so that nobody else goes there.
    """
    import numpy as np

    some = seen.part(_thinned(seen))
    x, y, noise = some.x, some.log_error, some.noise
    surface = Surface(x, y, noise, shape)
    told, error = seen.x[seen.counts], seen.measured[seen.counts]
    if not len(running):
        return surface, told, error
    believed = surface.mean(running)
    x, y = np.vstack([x, running]), np.append(y, believed)
    surface = Surface(x, y, np.append(noise, np.zeros(len(running))), shape)
    ended = np.maximum(np.exp(believed) - TIE, 0.0)
    return surface, np.vstack([told, running]), np.append(error, ended)


def _grouped(corners: Array) -> tuple[Array, NDArray[np.intp]]:
    """The different ones, (G, 2), and which of them each is; estimates differ a little always."""
    import numpy as np

    different, group = np.unique(corners, axis=0, return_inverse=True)
    if len(different) > MAX_CORNERS:
        rounded = np.round(corners * ROUNDED) / ROUNDED
        different, group = np.unique(rounded, axis=0, return_inverse=True)
    return different, group.ravel()


def _thinned(seen: Observations) -> NDArray[np.intp]:
    """Which observations the process gets: time grows with their cube."""
    import numpy as np

    n, half = len(seen), MAX_OBSERVATIONS // 2
    if n <= MAX_OBSERVATIONS:
        return np.arange(n)
    old = np.linspace(0, n - half, half, endpoint=False).astype(int)
    return np.append(old, np.arange(n - half, n))


def _scale(costs: Array) -> Array:
    """Logarithms, from 0 to 1 over all that is there; (N, 2)."""
    import numpy as np

    logs = np.log(np.maximum(costs, 1e-12))
    low, high = logs.min(axis=0), logs.max(axis=0)
    scaled: Array = (logs - low) / np.where(high > low, high - low, 1.0)
    return scaled


def _due(
    told: Array, error: Array, surface: Surface, guess: Guess, candidates: Array, worst: float
) -> Array:
    """How far below the best of its own batch size a candidate is expected to get; (M,).

    The best by what the process makes of it: luck with a seed is no reason to look elsewhere. Of
    many runs only those are asked about that did best.
    """
    import numpy as np

    sizes, group = np.unique(candidates[:, 0], return_inverse=True)
    best = np.full(len(sizes), worst)
    for row, size in enumerate(sizes):
        own = np.flatnonzero(told[:, 0] == size)
        if len(own) > MAX_BEST:
            own = own[np.argpartition(error[own], MAX_BEST)[:MAX_BEST]]
        if len(own):
            believed = np.exp(surface.mean(told[own])) - TIE
            best[row] = min(believed.min(), worst)
    gains: Array = expected_below(guess, best)[np.arange(len(candidates)), group.ravel()]
    return gains
