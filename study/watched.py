"""One run, followed epoch by epoch: its curve is stored and the stop rule asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from objectives.measurement import Measurement, Stopped, TrialParams
from objectives.run import Run, carry_out
from study.interrupts import Interrupts
from study.outcome import on_grid
from study.pruning.decision import Decision, Progress, StopRule
from study.trials import CURVE

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

    from objectives.load import Objective
    from study.costs import SizeCost


class WatchedRun:
    """Measures one trial; used once."""

    def __init__(
        self,
        *,
        study: Study,
        trial: Trial,
        params: TrialParams,
        run: Run,
        known: SizeCost | None,
        rule: StopRule,
        interrupts: Interrupts,
        say: Callable[..., None],
    ) -> None:
        self.decision: Decision | None = None  # of the stop rule, to end this run
        self.broken: Exception | None = None  # what storage or stop rule raised
        self._study = study
        self._trial = trial
        self._params = params
        self._run = run
        self._known = known
        self._rule = rule
        self._interrupts = interrupts
        self._say = say
        run.should_stop = self._each_epoch

    def measure(self, objective: Objective) -> Measurement:
        """Train.

        Raises:
            Interrupted: a signal came.
            Exception: whatever the objective raised; or `broken`, also where it swallowed that.
        """
        with self._interrupts.armed():
            carry_out(objective, self._params, self._run)
        if self.broken is not None:
            raise self.broken
        return self._run.result()

    def _each_epoch(self, curve: tuple[float, ...]) -> Stopped | None:
        with self._interrupts.held():
            try:
                self._trial.set_user_attr(CURVE, on_grid(curve, self._params.epochs))
                decision = self._rule.judge(self._study, self._trial, self._progress(curve))
            except Exception as error:
                self.broken = error
                raise
            self._say(epoch=len(curve), metric=curve[-1])
        if decision is None or self._run.share_done >= 1:
            return None  # a run that has just ended is worth more than what stopping it saves
        self.decision = decision
        return Stopped(decision.verdict, decision.reason)

    def _progress(self, curve: tuple[float, ...]) -> Progress:
        """With the known cost of the size, or what the run has cost so far."""
        seconds, peak = self._run.so_far()
        if self._known is not None:
            seconds = self._known.train_seconds or seconds
            peak = self._known.peak_memory_bytes or peak
        return Progress(
            batch_size=self._params.batch_size,
            curve=curve,
            train_seconds=seconds,
            peak_memory_bytes=peak,
            share_done=self._run.share_done,
        )
