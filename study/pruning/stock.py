"""Any Optuna pruner as a stop rule of a multi-objective study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Verdict
from batchfront.objectives.raised import words_of
from batchfront.study.errors import StudyError
from batchfront.study.pruning.decision import Decision, RunSoFar
from batchfront.study.pruning.metric_view import MetricView, last_finite
from batchfront.study.trials.attributes import PRUNER_STATE
from batchfront.study.trials.outcome import MAX_GRADE, on_grid
from batchfront.study.trials.yardstick import metric_in

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.trial import Trial


class StockPruner:
    """Asks an Optuna pruner about the metric of the study."""

    def __init__(self, pruner: BasePruner, *, name: str, length: Length) -> None:
        self._pruner = pruner
        self._name = name
        self._length = length
        self._view: MetricView | None = None

    def judge(self, study: Study, trial: Trial, progress: RunSoFar) -> Decision | None:
        """Pruned, with the pruner's name as the reason; None to go on.

        Raises:
            StudyError: the pruner raised something.
        """
        metric = metric_in(study)
        if self._view is None:
            self._view = MetricView(study.study_name, metric)
        view, number = self._view, trial.number
        try:
            view.follow(study)
            view.report(number, on_grid(progress.curve, self._length.points, metric))
            stops = view.should_prune(number, self._pruner)
        except Exception as error:
            raise StudyError(f"the pruner {self._name} failed: {words_of(error)}") from error
        state = view.new_state(number)
        if state is not None:
            trial.set_user_attr(PRUNER_STATE, state)
        if not stops:
            return None
        best, last = view.best_value(), last_finite(progress.curve)
        return Decision(
            verdict=Verdict.PRUNED,
            reason=f"{self._name} stopped it after {self._length.point} {len(progress.curve)}",
            shortfall=(
                MAX_GRADE if best is None or last is None else metric.good(best) - metric.good(last)
            ),
        )
