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
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler

from batchfront.study.machine.threads import one_blas_thread
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.feasible import Feasible
from batchfront.study.search.forwarding import Forwarding
from batchfront.study.search.known import N_START, Known, thinned
from batchfront.study.search.learner import Learner
from batchfront.study.search.observations import Observations, Part
from batchfront.study.search.past import Past, believed
from batchfront.study.search.prices import Prices
from batchfront.study.search.samplers import PerTrialSampler
from batchfront.study.search.worth import worst_error, worth_of
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

PROVEN = 2.0  # gain of log density by which an earlier study has proven that it agrees
CHEAP = 2.0  # times the least price: what it is tried at until then
START_POWER = 2.0  # a start's batch size is drawn with probability 1 / seconds ** this


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
            row = self._worthiest(
                known, evidence, running, feasible=feasible, prices=prices, limits=limits, draw=draw
            )
        return self._encoding.params(row.tolist())

    def _worthiest(
        self,
        known: Known,
        evidence: Evidence,
        running: Array,
        *,
        feasible: Feasible,
        prices: Prices,
        limits: Limits,
        draw: np.random.Generator,
    ) -> Array:
        """The candidate that is worth most for its cost, (D,), of those that can be run."""
        import numpy as np

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
        worth = share * worth_of(known, running, candidates, prices, worst)
        # What is too dear for the budget counts in what others are worth: so the search is the
        # one that it would be without a budget, until that would run what it cannot afford.
        affordable = feasible.affordable(candidates)
        score = np.where(affordable, worth, -1.0) if affordable.any() else worth
        row: Array = candidates[np.argmax(score)]
        return row

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
            return own.part(thinned(own), best=past.best)

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
