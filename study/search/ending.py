"""Whether a search has reached its end: decided here alone, for workers and for what is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from batchfront.study.plan.goal import LEAST_TRIALS
from batchfront.study.search.enough import Enough, Expected
from batchfront.study.search.spending import Spending, spending_of

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from batchfront.study.plan.limits import Limits
    from batchfront.study.plan.plan import Plan

Why = Literal["trials", "enough", "budget"]


@dataclass(frozen=True, kw_only=True)
class End:
    """Why a search is at its end."""

    why: Why  # the greatest number of trials, more are expected to gain little, or all is spent
    expected: Expected | None  # what more trials may gain, where the search asks for that
    spending: Spending | None = None  # where it has a budget


class Ending:
    """Follows one search."""

    def __init__(self, plan: Plan) -> None:
        self._goal = plan.goal
        self._n_trials = plan.n_trials
        self._sizes = plan.space.batch_sizes
        self._enough = (
            Enough(space=plan.space, seed=plan.seed, hardware=plan.hardware)
            if plan.goal.is_auto
            else None
        )

    def spending(
        self, study: optuna.Study, trials: Sequence[FrozenTrial], limits: Limits
    ) -> Spending | None:
        """What the search has spent of its budget; None where it has none."""
        return spending_of(study, trials, self._goal, limits)

    def of(
        self,
        study: optuna.Study,
        limits: Limits,
        *,
        n_finished: int,
        n_running: int = 0,
        spending: Spending | None = None,
    ) -> End | None:
        """The end, where the search is at it; trials that run count as if they had finished."""
        planned = limits if spending is None else spending.planned(limits)
        expected = self._expected(study, planned, n_finished)
        if n_finished + n_running >= self._n_trials:
            return End(why="trials", expected=expected, spending=spending)
        if expected is not None and expected.is_enough:
            return End(why="enough", expected=expected, spending=spending)
        if spending is not None and self._is_spent(spending, limits):
            return End(why="budget", expected=expected, spending=spending)
        return None

    def _is_spent(self, spending: Spending, limits: Limits) -> bool:
        """Whether nothing that may run can be afforded any more."""
        within = spending.within(limits)
        sizes = [size for size in self._sizes if limits.excuse(size) is None]
        return spending.left <= 0 or not any(map(within.can_afford, sizes))

    def _expected(self, study: optuna.Study, limits: Limits, n_finished: int) -> Expected | None:
        """What more trials may gain."""
        if self._enough is None or n_finished < LEAST_TRIALS:
            return None
        return self._enough.look(study, limits)
