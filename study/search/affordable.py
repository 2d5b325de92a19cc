"""Keeps samplers that know nothing of costs within what a budget affords."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from batchfront.study.search.forwarding import Forwarding
from batchfront.study.trials.attributes import SIZE_NAMES, batch_size_of

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from batchfront.study.plan.limits import Limits
    from batchfront.study.plan.space import SearchSpace


class AffordableSampler(Forwarding):
    """A sampler that proposes the nearest batch size whose run is affordable, where one is not."""

    def __init__(
        self,
        inner: BaseSampler,
        *,
        space: SearchSpace,
        limits: Callable[[optuna.Study], Limits],
    ) -> None:
        super().__init__(inner)
        self._space, self._limits = space, limits

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn = super().sample_relative(study, trial, search_space)
        return {name: self._afforded(study, name, value) for name, value in drawn.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        drawn = super().sample_independent(study, trial, param_name, param_distribution)
        return self._afforded(study, param_name, drawn)

    def _afforded(self, study: optuna.Study, name: str, value: Any) -> Any:
        limits = self._limits(study)
        if name not in SIZE_NAMES or limits.affordable_seconds is None:
            return value
        asked = batch_size_of({name: value})
        afforded = [size for size in self._space.batch_sizes if limits.can_afford(size)]
        if not afforded or asked in afforded:
            return value
        nearest = min(afforded, key=lambda size: abs(math.log(size / asked)))
        return self._space.size_param(nearest)[name]
