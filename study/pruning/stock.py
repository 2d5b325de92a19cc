"""Any Optuna pruner as a stop rule of a multi-objective study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.measurement import Verdict
from batchfront.study.errors import StudyError
from batchfront.study.pruning.accuracy_view import AccuracyView, last_finite
from batchfront.study.pruning.decision import Decision, RunSoFar
from batchfront.study.trials.attributes import PRUNER_STATE
from batchfront.study.trials.outcome import MAX_GRADE, on_grid

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.trial import Trial


class StockPruner:
    """Asks an Optuna pruner about the accuracy of the study."""

    def __init__(self, pruner: BasePruner, *, name: str, epochs: int) -> None:
        self._pruner = pruner
        self._name = name
        self._epochs = epochs
        self._view: AccuracyView | None = None

    def judge(self, study: Study, trial: Trial, progress: RunSoFar) -> Decision | None:
        """Pruned, with the pruner's name as the reason; None to go on.

        Raises:
            StudyError: the pruner raised something.
        """
        if self._view is None:
            self._view = AccuracyView(study.study_name)
        view, number = self._view, trial.number
        try:
            view.follow(study)
            view.report(number, on_grid(progress.curve, self._epochs))
            stops = view.should_prune(number, self._pruner)
        except Exception as error:
            raise StudyError(
                f"the pruner {self._name} failed: {type(error).__name__}: {error}"
            ) from error
        state = view.new_state(number)
        if state is not None:
            trial.set_user_attr(PRUNER_STATE, state)
        if not stops:
            return None
        best, last = view.best_value(), last_finite(progress.curve)
        return Decision(
            verdict=Verdict.PRUNED,
            reason=f"{self._name} stopped it after epoch {len(progress.curve)}",
            shortfall=MAX_GRADE if best is None or last is None else best - last,
        )
