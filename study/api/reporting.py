"""`trial.report` and `trial.should_prune` in an Optuna study of several objectives."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from batchfront.study.api.pruners import Pruner
from batchfront.study.errors import StudyError
from batchfront.study.trials.attributes import CURVE, CURVE_STEPS

if TYPE_CHECKING:
    from optuna.trial import Trial


class ReportingTrial:
    """A trial whose `report` and `should_prune` work in a study of several objectives, too.

    Optuna's own raise NotImplementedError there. What is reported is stored in user attributes, and
    the study's pruner, a `FrontPruner` or a `ProjectedPruner`, is asked. All else is the trial's
    own; in a study of one objective, these two are, too.
    """

    def __init__(self, trial: Trial) -> None:
        """`trial`: what Optuna calls the objective with. Make one of each, at the beginning."""
        self._trial = trial
        self._is_alone = len(trial.study.directions) == 1
        self._curve: list[float] = []
        self._steps: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def report(self, value: float, step: int) -> None:
        """Report what the metric is after `step`; a step that is reported again is ignored.

        Raises:
            TypeError, ValueError: no number, or a step that is no whole number from 0.
        """
        if self._is_alone:
            self._trial.report(value, step)
            return
        value, step = float(value), int(step)
        if step < 0:
            raise ValueError(f"step is {step}, wanted a whole number from 0")
        if step in self._steps:
            warnings.warn(f"step {step} was reported already: this is ignored", stacklevel=2)
            return
        self._curve.append(value)
        self._steps.append(step)
        self._trial.set_user_attr(CURVE_STEPS, self._steps)
        self._trial.set_user_attr(CURVE, self._curve)

    def should_prune(self) -> bool:
        """Whether the pruner would stop the run: then raise `optuna.TrialPruned`.

        Raises:
            StudyError: the study's pruner cannot judge one of several objectives.
        """
        if self._is_alone:
            return self._trial.should_prune()
        from optuna.pruners import NopPruner

        study = self._trial.study
        pruner = study.pruner
        if isinstance(pruner, NopPruner):
            return False
        if not isinstance(pruner, Pruner):
            kind = type(pruner).__name__
            raise StudyError(
                f"the study's pruner is {kind}, which judges studies of one objective: "
                f"create_study(pruner=bf.FrontPruner(...)), or bf.ProjectedPruner({kind}(...))"
            )
        return pruner.prune(study, self._trial)
