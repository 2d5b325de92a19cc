"""One run, followed epoch by epoch: curve and checkpoint are kept and the stop rule asked."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.hardware import free_memory, is_out_of_memory
from batchfront.objectives.measurement import Measurement, Stopped, TrialParams, Verdict
from batchfront.objectives.raised import Halted, words_of
from batchfront.objectives.run import Run, carry_out
from batchfront.storage.plain import NotPlain, shown
from batchfront.study.machine.interrupts import Interrupted, Interrupts
from batchfront.study.pruning.decision import Decision, RunSoFar, StopRule
from batchfront.study.trials.attributes import CURVE
from batchfront.study.trials.outcome import on_grid

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

    from batchfront.objectives.objective import Objective
    from batchfront.storage.checkpoint import Checkpoint
    from batchfront.study.trials.costs import SizeCost

CURVE_SECONDS = 0.5
"""How often a curve is written for others to see. Where epochs are short, writing each of them
would take longer than training; at its end a trial gets all of its curve."""
KEPT_SECONDS = 2.0
"""How often a member of a group is kept, where its epochs are short: to write down each member
after each of them would take as long as to train them together."""


class WatchedRun:
    """Measures one trial; used once."""

    def __init__(
        self,
        *,
        study: Study,
        trial: Trial,
        params: TrialParams,
        new_run: Callable[[], Run],
        known: SizeCost | None,
        stops_early: bool,
        rule: StopRule,
        checkpoint: Checkpoint | None,
        interrupts: Interrupts,
        say: Callable[..., None],
        told: set[str],
    ) -> None:
        """`told`: what the author of the loop has been told by this worker, once for all runs."""
        self.decision: Decision | None = None  # of the stop rule, to end this run
        self.broken: Exception | None = None  # what storage or stop rule raised
        self._pausing: Decision | None = None  # to be carried out once this epoch is kept
        self._kept_at = 0  # points of the curve when it was kept last
        self._goes_on = False  # from what was kept
        self._checkpoint = checkpoint
        self._study = study
        self._trial = trial
        self._params = params
        self._new_run = new_run
        self._run = self._watched()
        self._known = known
        self._stops_early = stops_early
        self._rule = rule
        self._interrupts = interrupts
        self._say = say
        self._told = told
        self._curve_seconds = CURVE_SECONDS
        self._curve_due = time.monotonic() + CURVE_SECONDS
        self._kept_seconds = 0.0  # until it is kept again
        self._fails_to_keep = False
        self._keep_due = time.monotonic()

    @property
    def curve(self) -> list[float]:
        """So far, as it is stored."""
        return on_grid(self._run.curve, self._params.planned.points, self._run.metric)

    def measure(self, objective: Objective) -> Measurement:
        """Train; from the checkpoint on, where there is one.

        Raises:
            Interrupted: a signal came.
            Exception: whatever the objective raised; or `broken`, also where it swallowed that.
        """
        checkpoint = self._checkpoint
        kept = None if checkpoint is None else checkpoint.load()
        if checkpoint is not None and kept is not None:
            why = self._carry_out(objective, kept)
            if why is None:
                return self._run.result()
            checkpoint.put_aside(why)
            self._run = self._watched()
        self._carry_out(objective, None)
        return self._run.result()

    def ready(self, n_runs: int) -> Run | None:
        """The run, to be trained among `n_runs`; None where what is kept of it cannot be used.

        What it costs is known, and what is measured beside others is not that.
        """
        checkpoint, known = self._checkpoint, self._known
        kept = None if checkpoint is None else checkpoint.load()
        if known is None or known.step_seconds is None:
            return None
        self._goes_on = kept is not None
        self._curve_seconds = CURVE_SECONDS * n_runs  # as often as one is written, among them all
        self._kept_seconds = KEPT_SECONDS
        self._keep_due = time.monotonic() + KEPT_SECONDS
        try:
            if kept is not None:
                self._run.restore(kept)
        except (KeyError, TypeError, ValueError):
            return None
        self._run.told_cost(
            step_seconds=known.step_seconds, peak_memory_bytes=known.peak_memory_bytes or 0
        )
        return self._run

    def was_no_use(self) -> bool:
        """Whether a run that has failed could not go on from what was kept."""
        return self._goes_on and self.broken is None and not self._run.is_under_way

    def result(self, error: BaseException | None) -> Measurement:
        """What a run that `ready` gave has shown, once it has ended; raises as `measure`.

        `error`: what it has raised.
        """
        from optuna.exceptions import TrialPruned

        if isinstance(error, TrialPruned):
            self._pruned(error)
        elif error is not None:
            raise error
        if self.broken is not None:
            raise self.broken
        return self._run.result()

    def _pruned(self, pruned: BaseException) -> None:
        """End the run as plain Optuna scripts end a trial early."""
        why = str(pruned) or "the objective raised TrialPruned"
        self._run.latched = Stopped(Verdict.PRUNED, why)

    def _watched(self) -> Run:
        """A run that tells us of its epochs and of what to keep."""
        run = self._new_run()
        run.should_stop = self._each_epoch
        if self._checkpoint is not None:
            run.keep, run.is_due = partial(self._keep, self._checkpoint), self._is_due
        return run

    def _carry_out(self, objective: Objective, kept: dict[str, Any] | None) -> str | None:
        """Train, going on from `kept`; returns why that cannot be gone on from, or else None.

        A loop that raises before it has taken a step has not failed: it cannot use what it got.
        """
        from optuna.exceptions import TrialPruned

        try:
            with self._interrupts.armed(gently=self._checkpoint is not None):
                if kept is not None:
                    self._run.restore(kept)
                    self._kept_at = _points_in(kept)
                carry_out(objective, self._params, self._run)
        except TrialPruned as pruned:
            self._pruned(pruned)
        except Halted:
            raise
        except BaseException as error:  # user code may raise anything
            lost = kept is None or self.broken is not None or self._run.is_under_way
            if lost or is_out_of_memory(error):
                raise
            why = f"no run goes on from it, {words_of(error)}".splitlines()[0]
            free_memory(error)
            return why[:300]
        if self.broken is not None:
            raise self.broken
        return None

    def _each_epoch(self, curve: tuple[float, ...]) -> Stopped | None:
        with self._interrupts.held():
            try:
                if time.monotonic() >= self._curve_due:
                    self._trial.set_user_attr(CURVE, self.curve)
                    self._curve_due = time.monotonic() + self._curve_seconds
                # A loop that did not keep what it was asked to goes on.
                self._pausing, self._run.asked_to_keep = None, False
                decision = self._rule.judge(self._study, self._trial, self._progress(curve))
            except Exception as error:
                self.broken = error
                raise
            self._say(epoch=len(curve), metric=curve[-1])
        if decision is None or self._run.share_done >= 1:
            self._leave_if_asked()
            return None  # a run that has just ended is worth more than what stopping it saves
        if decision.pauses:
            self._pausing, self._run.asked_to_keep = decision, True
            return None
        self.decision = decision
        return Stopped(decision.verdict, decision.reason)

    def _leave_if_asked(self) -> None:
        """Leave, if asked to, between an epoch with its checkpoint and the next one."""
        if self._interrupts.signum is not None:
            self._run.leaving = Interrupted(self._interrupts.signum)

    def _is_due(self) -> bool:
        """Whether it is time to keep the run, or time to leave."""
        return time.monotonic() >= self._keep_due or self._interrupts.signum is not None

    def _keep(self, checkpoint: Checkpoint, state: dict[str, Any]) -> None:
        self._keep_due = time.monotonic() + self._kept_seconds
        with self._interrupts.held():
            try:
                checkpoint.save(state)
                self._kept_at, self._fails_to_keep = len(self._run.curve), False
                self._pause()
            except OSError as error:
                self._fails_to_keep = True  # until it does: what is not kept cannot be paused
                warnings.warn(f"no checkpoint of trial {self._trial.number}: {error}", stacklevel=2)
            except NotPlain as error:
                self._run.keep = None
                self._tell_author(_unkept(error))
        self._leave_if_asked()

    def _will_be_kept(self, points: int) -> bool:
        """Whether the loop keeps the epoch that it has just reported: as it did the one before."""
        if self._run.keep is None:
            return False
        is_known = self._run.keeps_if_asked and not self._fails_to_keep
        return is_known or self._kept_at == points - 1 > 0

    def _pause(self) -> None:
        """End a run that is to be paused: what it can go on from is there."""
        if self._pausing is not None:
            self.decision = self._pausing
            self._run.latched = Stopped(self._pausing.verdict, self._pausing.reason)

    @property
    def is_paused(self) -> bool:
        """Whether the run has ended, and is kept to go on later."""
        return self.decision is not None and self.decision.pauses

    def _tell_author(self, words: str) -> None:
        if words not in self._told:
            self._told.add(words)
            warnings.warn(words, stacklevel=3)

    def _progress(self, curve: tuple[float, ...]) -> RunSoFar:
        """The run's progress, with the known cost of its size, or what it has cost so far.

        Nobody knows what it will take where runs end early, or steps are not reported.
        """
        (seconds, peak), whole = self._run.so_far(), None
        if self._known is not None:
            if not (self._stops_early or self._run.misses_steps):
                whole = self._known.train_seconds
            peak = self._known.peak_memory_bytes or peak
        return RunSoFar(
            batch_size=self._params.batch_size,
            curve=curve,
            train_seconds=whole or seconds,
            peak_memory_bytes=peak,
            share_done=self._run.share_done,
            is_whole_cost=bool(whole),
            tells_best=self._run.tells_best,
            metric=self._run.metric,
            is_kept=self._will_be_kept(len(curve)),
        )


def _points_in(kept: dict[str, Any]) -> int:
    """The points of the curve of a run when it was kept."""
    return len(kept["run"].get("curve", ()))


def _unkept(error: NotPlain) -> str:
    """What the author of a training loop is told; the loop's own state lies in "loop"."""
    return (
        f"run.save got {shown(error.keys[1:])} of type {error.kind}, which no checkpoint can hold: "
        "give it tensors, numbers, strings, and lists or dicts of them, such as a state_dict(); "
        "until then a run that is cut off starts over"
    )
