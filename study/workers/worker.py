"""ask -> objective -> tell, one trial at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from batchfront.objectives.device.names import devices_of
from batchfront.objectives.measurement import Measurement
from batchfront.objectives.training.recipe import n_ranks
from batchfront.study.machine.interrupts import Interrupted, Interrupts
from batchfront.study.machine.turns import device_turn
from batchfront.study.plan.plan import Plan
from batchfront.study.pruning.decision import NeverStop
from batchfront.study.workers.claimed import Claimed
from batchfront.study.workers.doubts import Doubts
from batchfront.study.workers.fusing import Fusing, NotTogether
from batchfront.study.workers.next_trial import NextTrial
from batchfront.study.workers.telling import Telling
from batchfront.study.workers.trial_run import run_of
from batchfront.study.workers.watched import WatchedRun

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.objective import Objective
    from batchfront.storage.shared import SharedStorage
    from batchfront.study.workers.pulse import Pulse

STANDBY_SECONDS = 1.0  # between two looks whether a trial of another worker is left behind
PASSING_SECONDS = 5.0  # for others to let go of it, before the next trial
POLL_SECONDS = 0.1  # for signals, meanwhile


class Worker:
    """Runs trials of one study in this process until the total is reached, or the agenda done."""

    def __init__(
        self,
        *,
        storage: SharedStorage,
        study: Study,
        plan: Plan,
        objective: Objective,
        next_trial: NextTrial,
        telling: Telling,
        doubts: Doubts,
        pulse: Pulse,
        interrupts: Interrupts,
        deadline: float | None = None,  # of time.monotonic()
        trials_per_gpu: int = 1,
    ) -> None:
        self._study = study
        self._plan = plan
        self._objective = objective
        self._next = next_trial
        self._telling = telling
        self._doubts = doubts
        self._devices = devices_of(plan.device, n_ranks(objective))
        self._pulse = pulse
        self._interrupts = interrupts
        self._deadline = deadline
        self._trials_per_gpu = trials_per_gpu
        # An accelerator's allocator counts anyway: a run that disagrees with its probe is noticed.
        self._measures_always = not plan.device.startswith("cpu") and not objective.compiled
        self._is_timed = True  # nobody shares the device
        self._told: set[str] = set()  # to the author of the training loop
        self._fusing = Fusing(
            storage=storage, study=study, plan=plan, objective=objective, told=self._told
        )
        self._stop_rule = next_trial.stop_rule

    def run(self) -> None:
        """Returns when the total, the deadline or a signal is reached.

        Raises:
            RepeatedFailure: trials in a row failed the same way.
            DeviceLost: another process has to go on.
        """
        while not self._over():
            with device_turn(self._devices, self._over, n_beside=self._trials_per_gpu) as turn:
                if self._doubts.sizes:
                    turn.alone()
                    self._doubts.probe_again()
                claimed = None if self._over() else self._next.next()
                if claimed is not None:
                    if not claimed.is_told:  # it is measured
                        turn.alone()
                    self._is_timed = not turn.is_shared
                    self._take(claimed)
            if claimed is None and not self._stand_by():
                return
            if self._telling.crowded:  # the turn is over: who takes the memory may be one of us
                self._telling.crowded = False
                self._rest(PASSING_SECONDS)

    def _over(self) -> bool:
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self._interrupts.signum is not None

    def _stand_by(self) -> bool:
        """Wait a little while others run the last trials: one of them may die.

        Returns whether to look again.
        """
        n_running = self._next.n_running
        if n_running == 0:
            return False
        self._telling.waits(n_running)
        self._rest(STANDBY_SECONDS)
        return True

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._over():
            time.sleep(POLL_SECONDS)

    def _take(self, claimed: Claimed) -> None:
        try:
            if self._is_ours(partial(self._telling.refused, claimed), claimed):
                return
            most = self._fusing.most(claimed)
            if most == 0:
                self._is_ours(partial(self._run_trial, claimed), claimed)
                return
            others = self._next.more(claimed, most - 1)
            self._run_group([claimed, *(o for o in others if not self._telling.refused(o))])
        finally:
            self._pulse.let_go()

    def _is_ours(self, act: Callable[[], bool | None], claimed: Claimed) -> bool:
        """What `act` says; True where it has found that the trial is another's by now."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            return bool(act())
        except UpdateFinishedTrialError:
            # We were paused or cut off for so long that another took the trial: its result counts.
            self._telling.say(claimed, "ended", verdict="taken over")
            return True

    def _run_group(self, group: list[Claimed]) -> None:
        """Train trials together; each is told by itself, whatever becomes of the others."""
        watched = [self._watched(claimed, beside=True) for claimed in group]
        for claimed in group:
            self._telling.say(claimed, "started")
        try:
            with self._interrupts.armed(gently=group[0].checkpoint is not None):
                raised = self._fusing.carry_out(
                    [(one.params, run) for one, run in zip(group, watched, strict=True)]
                )
        except Interrupted as interrupted:
            raised = [interrupted for _ in group]
        broken: list[BaseException] = []
        for claimed, run, error in zip(group, watched, raised, strict=True):
            try:
                self._is_ours(partial(self._conclude, claimed, run, error), claimed)
            except BaseException as told:  # the others are told, too
                broken.append(told)
        if broken:
            raise broken[0]

    def _conclude(self, claimed: Claimed, watched: WatchedRun, error: BaseException | None) -> None:
        """Tell of a member of a group; one that could not be trained there is trained alone."""
        if isinstance(error, NotTogether) or (error is not None and watched.was_no_use()):
            self._run_trial(claimed)
            return
        try:
            measurement = watched.result(error)
        except BaseException as found:  # user code may raise anything; we go on
            self._telling.ended_by(claimed, watched, found)
        else:
            self._measured(claimed, watched, measurement)

    def _run_trial(self, claimed: Claimed) -> None:
        self._telling.say(claimed, "started")
        watched = self._watched(claimed)
        try:
            measurement = watched.measure(self._objective)
        except BaseException as error:  # user code may raise anything; we go on
            self._telling.ended_by(claimed, watched, error)
        else:
            self._measured(claimed, watched, measurement)

    def _measured(self, claimed: Claimed, watched: WatchedRun, measurement: Measurement) -> None:
        if self._is_timed:
            self._doubts.note(claimed, measurement)
        self._telling.measured(claimed, watched, measurement)

    def _watched(self, claimed: Claimed, *, beside: bool = False) -> WatchedRun:
        """`beside`: others that are trained with it, so that nobody can tell its memory."""
        measures = self._measures_always or not claimed.is_told
        return WatchedRun(
            study=self._study,
            trial=claimed.trial,
            params=claimed.params,
            new_run=partial(
                run_of,
                self._plan,
                self._objective,
                step_seconds=claimed.step_seconds,
                measure_memory=measures and not beside,
            ),
            known=claimed.known,
            stops_early=claimed.limits.stops_early,
            rule=NeverStop() if claimed.purpose is not None else self._stop_rule,
            checkpoint=claimed.checkpoint,
            interrupts=self._interrupts,
            say=partial(self._telling.say, claimed, "epoch"),
            told=self._told,
        )
