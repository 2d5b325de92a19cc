"""Samplers by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from batchfront.study.search.affordable import AffordableSampler
from batchfront.study.search.samplers import stock_sampler

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

    from batchfront.study.plan.limits import Limits
    from batchfront.study.plan.past import PastRuns
    from batchfront.study.plan.space import SearchSpace


def make_sampler(
    name: str,
    *,
    space: SearchSpace,
    seed: int,
    hardware: str,
    limits: Callable[[optuna.Study], Limits],
    has_budget: bool = False,
    past: Sequence[PastRuns] = (),
) -> BaseSampler:
    """A sampler whose draws depend only on the seed, the trial's number and the study so far.

    `limits`: what is known at the time, of costs and of sizes that cannot run. `has_budget`: and
    of what the search can afford. `past`: earlier studies, which only our own sampler looks at.
    """
    if name == "cost-aware":
        from batchfront.study.search.cost_aware import CostAwareSampler

        return CostAwareSampler(space=space, seed=seed, hardware=hardware, limits=limits, past=past)
    sampler = stock_sampler(name, space=space, seed=seed)
    return AffordableSampler(sampler, space=space, limits=limits) if has_budget else sampler
