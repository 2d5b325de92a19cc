"""Whether a search has reached its end: decided here alone, for workers and for what is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from batchfront.study.plan.goal import LEAST_TRIALS
from batchfront.study.search.enough import Enough, Expected

if TYPE_CHECKING:
    import optuna

    from batchfront.study.plan.limits import Limits
    from batchfront.study.plan.plan import Plan

Why = Literal["trials", "enough"]


@dataclass(frozen=True, kw_only=True)
class End:
    """Why a search is at its end."""

    why: Why  # the greatest number of trials, or more are expected to gain little
    expected: Expected | None  # what more trials may gain, where the search asks for that


class Ending:
    """Follows one search."""

    def __init__(self, plan: Plan) -> None:
        self._n_trials = plan.n_trials
        self._enough = (
            Enough(space=plan.space, seed=plan.seed, hardware=plan.hardware)
            if plan.goal.is_auto
            else None
        )
        self._known: tuple[int, Expected | None] = (-1, None)  # after so many trials

    def of(
        self, study: optuna.Study, limits: Limits, *, n_finished: int, n_running: int = 0
    ) -> End | None:
        """The end, where the search is at it; trials that run count as if they had finished."""
        if n_finished + n_running >= self._n_trials:
            return End(why="trials", expected=self._expected(study, limits, n_finished))
        expected = self._expected(study, limits, n_finished)
        if expected is not None and expected.is_enough:
            return End(why="enough", expected=expected)
        return None

    def _expected(self, study: optuna.Study, limits: Limits, n_finished: int) -> Expected | None:
        """What more trials may gain; asked for once after each trial."""
        if self._enough is None or n_finished < LEAST_TRIALS:
            return None
        if self._known[0] != n_finished:
            self._known = n_finished, self._enough.look(study, limits)
        return self._known[1]
