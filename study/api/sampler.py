"""The default sampler, for an Optuna study of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import all_memory_bytes
from batchfront.study.api.costs import Given, RunCosts, check_values
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.limits import Limits
from batchfront.study.plan.options import options
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.cost_aware import CostAwareSampler as Inner
from batchfront.study.search.forwarding import Forwarding

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


class CostAwareSampler(Forwarding):
    """Draws `batch_size` and `learning_rate` of a study whose values are metric, seconds, bytes.

    The objective calls `trial.suggest_int("batch_size", low, high, log=True)` and
    `trial.suggest_float("learning_rate", low, high, log=True)`, with the ends that are given here.
    What else it suggests is drawn at random. Failed trials say nothing, and of pruned ones those
    that one of our pruners has stopped, on what a `ReportingTrial` was told.
    """

    def __init__(
        self,
        *,
        batch_sizes: str | Sequence[int] = "8:512",
        learning_rates: str | tuple[float, float] = "1e-4:3",
        costs: Given = None,
        seed: int = 0,
    ) -> None:
        """Say what is searched.

        Args:
            batch_sizes: "16:512" (powers of two), or a list of them.
            learning_rates: the lowest and the highest.
            costs: seconds and bytes of a whole run by batch size, where they are known, as
                `bf.Study.costs()` measures them; or a probe of your own, a function from a batch
                size to the two, called once for each. Other sizes are learned from trials.
            seed: of the draws, which depend on it, the trial's number and the study so far.
        """
        self._space = SearchSpace(
            batch_sizes=options()["batch_sizes"].valued(batch_sizes),
            learning_rates=options()["learning_rates"].valued(learning_rates),
        )
        self._costs = RunCosts(costs)
        super().__init__(Inner(space=self._space, seed=seed, hardware="", limits=self._limits))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The two that it draws.

        Raises:
            StudyError: the study has other values.
        """
        check_values(study)
        return self.inner.infer_relative_search_space(study, trial)

    def _limits(self, study: optuna.Study) -> Limits:
        return Limits(
            costs=self._costs.of(study, self._space.batch_sizes),
            budgets=Budgets(),
            failed_size=None,
            device_bytes=all_memory_bytes("cpu"),
        )
