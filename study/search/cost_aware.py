"""The default sampler: time and memory are known, so only the error has to be learned.

A cheap start fills the range of learning rates at the batch sizes that train quickly. From then on
a Gaussian process (`surface`) says what each candidate's error may be, and the one is run that is
worth most for its cost: expected gain in hypervolume a second, plus a little for the best accuracy
of its own batch size. The small, expensive sizes add next to nothing to the hypervolume, and are
what people ask about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler

from batchfront.study.machine.threads import one_blas_thread
from batchfront.study.search.chances import news, success
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.feasible import Feasible
from batchfront.study.search.forwarding import Forwarding
from batchfront.study.search.gains import Plane, expected_below
from batchfront.study.search.learner import Learner
from batchfront.study.search.observations import Observations, Part
from batchfront.study.search.past import Past, PastSurface, believed, with_past
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
    from batchfront.study.plan.past import PastRuns
    from batchfront.study.plan.space import SearchSpace
    from batchfront.study.search.evidence import Evidence
    from batchfront.study.trials.yardstick import Yardstick

    Array = NDArray[np.float64]

N_START = 6  # trials of the cheap start
PROVEN = 2.0  # gain of log density by which an earlier study has proven that it agrees
CHEAP = 2.0  # times the least price: what it is tried at until then
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
        past: Sequence[PastRuns] = (),
    ) -> None:
        """`limits`: what is known of costs, and which sizes cannot run; `past`: earlier studies."""
        # Parameters that are not ours are drawn at random.
        super().__init__(PerTrialSampler(lambda number: RandomSampler(seed=number), seed=seed))
        self._space = space
        self._encoding = Encoding(space)
        self._learner = Learner(encoding=self._encoding, hardware=hardware)
        self._seed = seed
        self._limits = limits
        self._past = [Past(kept, self._encoding) for kept in past]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space.distributions()

    @one_blas_thread()
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
        n_begun = len(seen) + len(running)
        known = self._with_past(seen, evidence, n_begun)
        if known is None and (n_begun < N_START or not seen.counts.any()):
            row = self._cheap(feasible, prices, trial.number, draw)
        else:
            known = known or Known(seen=seen, shape=learner.shape(seen, evidence))
            candidates = self._encoding.candidates(self._space.batch_sizes, known.good, draw)
            share = feasible.share(candidates)
            if known.is_tried:
                price = prices.of(candidates)[:, 0]
                share[price > CHEAP * price.min()] = 0
            if share.any():
                candidates, share = candidates[share > 0], share[share > 0]
            least = limits.budgets.least_metric
            by = evidence.yardstick if known.past is None else self._yardstick(known.past, evidence)
            allowed = None if least is None else by.standard(least)
            worst = worst_error(known.seen, allowed, usual=known.usual_error)
            worth = _worth(known, running, candidates, prices, worst)
            # What is too dear for the budget counts in what others are worth: so the search is the
            # one that it would be without a budget, until that would run what it cannot afford.
            affordable = feasible.affordable(candidates)
            score = np.where(affordable, worth * share, -1.0) if affordable.any() else worth * share
            row = candidates[np.argmax(score)]
        return self._encoding.params(row.tolist())

    def _with_past(self, seen: Observations, evidence: Evidence, n_begun: int) -> Known | None:
        """What is known with the earlier study that agrees best; None where none agrees.

        Until that is proven every other trial, and the first, is one of the cheap start, which
        shows whether the two agree, and the others are at cheap sizes.
        """
        if not self._past:
            return None
        measured = {id(past): self._measured(past, seen, evidence) for past in self._past}

        def part_of(past: Past) -> Part:
            own = measured[id(past)]
            return own.part(_thinned(own), best=past.best)

        found = believed(self._past, part_of)
        if found is None:
            return None
        gain, past, agreement = found
        is_tried = gain < PROVEN
        if is_tried and (n_begun >= N_START or n_begun % 2 == 0):
            return None
        return Known(
            seen=measured[id(past)], shape=past.shape, past=past, agreement=agreement,
            is_tried=is_tried,
        )  # fmt: skip

    def _measured(self, past: Past, seen: Observations, evidence: Evidence) -> Observations:
        """The runs of this study, as the earlier one measures errors."""
        by = self._yardstick(past, evidence)
        return seen if by == evidence.yardstick else evidence.observations(by)

    def _yardstick(self, past: Past, evidence: Evidence) -> Yardstick:
        return past.kept.yardstick(evidence.yardstick.metric)

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


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a choice is made by."""

    seen: Observations
    shape: Shape
    past: Past | None = None  # an earlier study that agrees
    agreement: float = 0.0
    is_tried: bool = False  # the earlier study has not proven yet that it agrees

    @property
    def good(self) -> Array:
        """(F, D) Rows that did well, here or there."""
        if self.past is None:
            return self.seen.x[self.seen.counts]
        return with_past(self.seen, self.past)[0]

    def surface(self, x: Array, y: Array, noise: Array) -> Surface | PastSurface:
        """What is known of log error, given x, (N, D), y, (N,), and its extra variance, (N,)."""
        if self.past is None:
            return Surface(x, y, noise, self.shape)
        return self.past.surface(x, y, noise, self.agreement)

    def part(self) -> Part:
        """The runs of this study, as the surface gets them."""
        best = math.inf if self.past is None else self.past.best
        return self.seen.part(_thinned(self.seen), best=best)

    @property
    def usual_error(self) -> float:
        """What runs of this study err by, or while there are few, those of the earlier."""
        import numpy as np

        counts = self.seen.counts
        if self.past is not None and counts.sum() < N_START:
            return self.past.kept.usual_error
        return float(np.median(self.seen.measured[counts]))


def worst_error(
    seen: Observations, min_metric: float | None, *, usual: float | None = None
) -> float:
    """The error from which on a run is worth nothing; `usual`: None: what these err by."""
    import numpy as np

    usual = float(np.median(seen.measured[seen.counts])) if usual is None else usual
    usual = max(WORST * usual, LEAST_WORST)
    allowed = 1.0 if min_metric is None else max(1 - min_metric, LEAST_ALLOWED)
    return min(usual, allowed, 1.0)


def _worth(known: Known, running: Array, candidates: Array, prices: Prices, worst: float) -> Array:
    """What each candidate is worth for its cost; (M,)."""
    import numpy as np

    seen = known.seen
    surface, told, error = _believed(known, running)
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
    x, failed = with_past(seen, known.past)
    chances: Array = worth * news(guess, known.shape) * success(x, failed, candidates)
    return chances


def _believed(known: Known, running: Array) -> tuple[Surface | PastSurface, Array, Array]:
    """The surface, and of what may be on the front its rows, (F, D), and errors, (F,).

    Runs that are under way count as if they had ended as expected, so that nobody else goes there.
    """
    import numpy as np

    seen, some = known.seen, known.part()
    x, y, noise = some.x, some.log_error, some.noise
    surface = known.surface(x, y, noise)
    told, error = seen.x[seen.counts], seen.measured[seen.counts]
    if not len(running):
        return surface, told, error
    believed = surface.mean(running)
    x, y = np.vstack([x, running]), np.append(y, believed)
    surface = known.surface(x, y, np.append(noise, np.zeros(len(running))))
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
    told: Array,
    error: Array,
    surface: Surface | PastSurface,
    guess: Guess,
    candidates: Array,
    worst: float,
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
