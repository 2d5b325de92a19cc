"""The finished runs of one hardware in a study, and what is learned from their curves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from batchfront.objectives.metric import Metric
from batchfront.study.pruning.bound import History
from batchfront.study.pruning.known_runs import KnownRuns
from batchfront.study.trials.followed import Followed
from batchfront.study.trials.hardware import ran_on
from batchfront.study.trials.yardstick import AS_IT_IS, metric_in

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.study.trials.costs import Costs

MIN_CURVES = 10  # completed ones, before anything is stopped
REREAD_SECONDS = 1.0  # a stop may come that much late: reading a database takes milliseconds
ANEW, NO_TRIAL = -2, -1  # numbers that no trial has
RELEARN = 1.05  # learn anew when there are this many times the curves

Learned = TypeVar("Learned")


class FinishedHere(Generic[Learned]):
    """Follows one study."""

    def __init__(
        self, learn: Callable[[History], Learned], *, hardware: str, costs: Callable[[], Costs]
    ) -> None:
        """`learn`: from curves; `costs`: as known now, as a probe may be repeated meanwhile."""
        self._learn = learn
        self._hardware = hardware
        self._costs = costs
        self._followed = Followed()
        self._metric: Metric | None = None
        self._known: KnownRuns | None = None
        self._learned: Learned | None = None
        self._n_learned = 0
        self.yardstick = AS_IT_IS  # that was learned with, or else would be
        self._read_for = ANEW  # trial
        self._read_at = 0.0

    def metric_of(self, study: Study) -> Metric:
        """Read once, which takes milliseconds: it never changes within a study."""
        if self._metric is None:
            self._metric = metric_in(study)
        return self._metric

    def all_runs(self, study: Study) -> KnownRuns:
        """What is there now."""
        self._read_for = ANEW
        return self.runs(study, NO_TRIAL)

    def runs(self, study: Study, number: int) -> KnownRuns:
        """Runs of this hardware; read on for each trial, and within one once a second."""
        now, costs = time.monotonic(), self._costs()
        if self._known is None:
            self._known = KnownRuns(costs, metric=self.metric_of(study))
        if number != self._read_for or now - self._read_at > REREAD_SECONDS:
            is_here, look = ran_on(study, self._hardware), self._followed.look(study)
            if look.superseded:
                self._known = self._known.at(self._known.costs, without=look.superseded)
            self._known.add(t for t in look.finished if is_here(t))
            self._read_for, self._read_at = number, now
            if self._learned is None:
                self.yardstick = self._known.yardstick
        if costs != self._known.costs:  # sizes were probed again
            self._known = self._known.at(costs)
        return self._known

    def learned(self, known: KnownRuns, *, growth: float = RELEARN) -> Learned | None:
        """Learned anew from so many times the curves; None while these are too few."""
        n_completed, least = known.n_completed, max(growth * self._n_learned, self._n_learned + 1)
        if self._learned is None or n_completed >= least:
            yardstick = known.yardstick
            history = known.curves.history(yardstick)
            if history is None or len(history) < MIN_CURVES:
                return None
            self._learned, self._n_learned = self._learn(history), n_completed
            self.yardstick = yardstick
        return self._learned
