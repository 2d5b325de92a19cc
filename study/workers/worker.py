"""ask -> objective -> tell, one trial at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.hardware import free_memory, is_device_lost, is_out_of_memory
from batchfront.objectives.device.names import devices_of
from batchfront.objectives.measurement import Measurement, Verdict
from batchfront.objectives.meters.divergence import METRIC_BECAME
from batchfront.objectives.raised import kind_of, text_of, words_of
from batchfront.objectives.training.recipe import n_ranks
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import Interrupted, Interrupts
from batchfront.study.machine.turns import device_turn
from batchfront.study.plan.limits import Excuse
from batchfront.study.plan.plan import Plan
from batchfront.study.probes.prober import Prober
from batchfront.study.pruning.decision import NeverStop
from batchfront.study.trials.attributes import ERROR
from batchfront.study.trials.costs import TIME_OFF
from batchfront.study.trials.hardware import store_costs, stored_costs
from batchfront.study.trials.outcome import time_off, way_of_failing
from batchfront.study.workers.claimed import Claimed
from batchfront.study.workers.events import QUEUED_AGAIN, Emit, Event
from batchfront.study.workers.fusing import Fusing, NotTogether
from batchfront.study.workers.ledger import Ledger
from batchfront.study.workers.next_trial import NextTrial
from batchfront.study.workers.trial_run import run_of
from batchfront.study.workers.watched import WatchedRun

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.objective import Objective
    from batchfront.storage.shared import SharedStorage
    from batchfront.study.workers.pulse import Pulse

SAME_FAILURES = 3  # in a row, and the worker gives up
UNDEFINED_RUNS = 10  # with no metric from the first run on, and the worker gives up
MAX_REFUSALS = 100  # in a row: then nothing that can run is left
STANDBY_SECONDS = 1.0  # between two looks whether a trial of another worker is left behind
MAX_CROWDED = 2  # times that a run which is known to fit may find no memory; then it is evidence
PASSING_SECONDS = 5.0  # for others to let go of it, before the next trial
POLL_SECONDS = 0.1  # for signals, meanwhile


class DeviceLost(Exception):
    """The device answers this process no more: another one has to go on."""


class RepeatedFailure(Exception):
    """Several trials in a row failed the same way: the study cannot go on like this."""


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
        ledger: Ledger,
        prober: Prober,
        pulse: Pulse,
        interrupts: Interrupts,
        emit: Emit,
        deadline: float | None = None,  # of time.monotonic()
        trials_per_gpu: int = 1,
    ) -> None:
        self._storage = storage
        self._study = study
        self._plan = plan
        self._objective = objective
        self._next = next_trial
        self._ledger = ledger
        self._devices = devices_of(plan.device, n_ranks(objective))
        self._pulse = pulse
        self._interrupts = interrupts
        self._emit = emit
        self._deadline = deadline
        self._trials_per_gpu = trials_per_gpu
        # An accelerator's allocator counts anyway: a run that disagrees with its probe is noticed.
        self._measures_always = not plan.device.startswith("cpu") and not objective.compiled
        self._is_timed = True  # nobody shares the device
        self._failures: list[str] = []  # ways of failing since the last trial that did not
        self._n_measured, self._only_undefined = 0, True  # runs, whose metric alone was not finite
        self._told: set[str] = set()  # to the author of the training loop
        self._prober = prober
        self._doubted: set[int] = set()  # sizes whose last run took another time than known
        self._checked: set[int] = set()  # of these, probed again: once by each worker
        self._refusals = 0
        self._fusing = Fusing(
            storage=storage, study=study, plan=plan, objective=objective, told=self._told
        )
        self._crowded = False  # the last trial was
        self._stop_rule = next_trial.stop_rule

    def run(self) -> None:
        """Returns when the total, the deadline or a signal is reached.

        Raises:
            RepeatedFailure: trials in a row failed the same way.
            DeviceLost: another process has to go on.
        """
        while not self._over():
            with device_turn(self._devices, self._over, n_beside=self._trials_per_gpu) as turn:
                if self._doubted - self._checked:
                    turn.alone()
                    self._probe_again()
                claimed = None if self._over() else self._next.next()
                if claimed is not None:
                    if not claimed.is_told:  # it is measured
                        turn.alone()
                    self._is_timed = not turn.is_shared
                    self._take(claimed)
            if claimed is None and not self._stand_by():
                return
            if self._crowded:  # the turn is over: whoever takes the memory may be one of us
                self._crowded = False
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
        n_finished = self._next.n_finished
        self._emit(Event(kind="waiting", n_finished=n_finished, n_running=n_running))
        self._rest(STANDBY_SECONDS)
        return True

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._over():
            time.sleep(POLL_SECONDS)

    def _take(self, claimed: Claimed) -> None:
        try:
            if self._is_ours(partial(self._refused, claimed), claimed):
                return
            most = self._fusing.most(claimed)
            if most == 0:
                self._is_ours(partial(self._run_trial, claimed), claimed)
                return
            others = self._next.more(claimed, most - 1)
            self._run_group([claimed, *(o for o in others if not self._refused(o))])
        finally:
            self._pulse.let_go()

    def _is_ours(self, act: Callable[[], bool | None], claimed: Claimed) -> bool:
        """What `act` says; True where it has found that the trial is another's by now."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            return bool(act())
        except UpdateFinishedTrialError:
            # We were paused or cut off for so long that another took the trial: its result counts.
            self._say(claimed, "ended", verdict="taken over")
            return True

    def _run_group(self, group: list[Claimed]) -> None:
        """Train trials together; each is told by itself, whatever becomes of the others."""
        watched = [self._watched(claimed, beside=True) for claimed in group]
        for claimed in group:
            self._say(claimed, "started")
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
        except BaseException as found:
            self._ended_by(claimed, watched, found)
        else:
            self._measured(claimed, watched, measurement)

    def _refused(self, claimed: Claimed) -> bool:
        """Tell a trial at once whose batch size is known not to fit or to break a budget."""
        excuse = claimed.excuse
        if excuse is None:
            self._refusals = 0
            return False
        self._ledger.refused(claimed, excuse)
        claimed.forget()  # what an earlier worker of its run has kept
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            raise RepeatedFailure(f"{MAX_REFUSALS} proposals in a row cannot run: {excuse.reason}")
        return True

    def _probe_again(self) -> None:
        """Check the sizes whose last run took another time than known, before the next trial."""
        for size in sorted(self._doubted - self._checked):
            with self._storage.claim_lock(self._plan.study_name):
                before = stored_costs(self._study, self._plan.hardware)
            try:
                with self._interrupts.armed():
                    after = self._prober.again(size, before[size])
            except Interrupted:
                return
            if after != before[size]:
                with self._storage.claim_lock(self._plan.study_name):
                    latest = stored_costs(self._study, self._plan.hardware)
                    store_costs(self._study, self._plan.hardware, {**latest, size: after})
            self._checked.add(size)

    def _run_trial(self, claimed: Claimed) -> None:
        self._say(claimed, "started")
        watched = self._watched(claimed)
        try:
            measurement = watched.measure(self._objective)
        except BaseException as error:  # user code may raise anything; we go on
            self._ended_by(claimed, watched, error)
        else:
            self._measured(claimed, watched, measurement)

    def _measured(self, claimed: Claimed, watched: WatchedRun, measurement: Measurement) -> None:
        self._failures.clear()
        undefined = measurement.reason.startswith(METRIC_BECAME)
        self._only_undefined = self._only_undefined and undefined
        self._n_measured += 1
        off = time_off(measurement, claimed.cost_of(measurement)) or 0.0
        if self._is_timed and abs(off) > TIME_OFF:
            self._doubted |= claimed.sizes_of(measurement)
        self._tell(claimed, measurement, watched)
        if not watched.is_paused:
            claimed.forget()
        if self._only_undefined and self._n_measured == UNDEFINED_RUNS:
            raise RepeatedFailure(
                f"in all of the first {UNDEFINED_RUNS} runs the "
                f"{measurement.reason.partition(',')[0]}: look at how it is computed; the same "
                "command goes on"
            )

    def _ended_by(self, claimed: Claimed, watched: WatchedRun, error: BaseException) -> None:
        """Tell of a run that has raised; raises what the user's objective is not to blame for."""
        if isinstance(error, Interrupted):
            self._hand_back(claimed, "ended by a signal")
            return
        if error is watched.broken:  # not the user's objective failed
            if isinstance(error, StudyError):  # but a pruner, which can be mended
                self._hand_back(claimed, str(error))
            raise error
        if is_out_of_memory(error):
            self._out_of_memory(claimed, error)
        else:
            self._fail(claimed, error)

    def _out_of_memory(self, claimed: Claimed, error: BaseException) -> None:
        size = claimed.params.batch_size
        said = (text_of(error) or kind_of(error)).splitlines()[0]
        free_memory(error)
        if claimed.fits and self._ledger.n_crowded_out(claimed.trial) < MAX_CROWDED:
            self._crowded_out(claimed, said[:300])
            return
        excuse: Excuse = claimed.limits.out_of_memory(size, f"ran out of memory: {said[:300]}")
        self._ledger.out_of_memory(claimed, excuse)
        claimed.forget()
        self._say(claimed, "ended", verdict=excuse.verdict.value)

    def _crowded_out(self, claimed: Claimed, said: str) -> None:
        """What is known to fit found no memory: something else has it, for a while."""
        why = (
            f"out of memory at batch size {claimed.params.batch_size}, which is known to fit: "
            f"something else uses the memory, and the trial is queued again ({said})"
        )
        self._ledger.crowded_out(claimed.trial, why)
        self._crowded = True
        self._say(claimed, "ended", verdict=QUEUED_AGAIN, reason=why)

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
            say=partial(self._say, claimed, "epoch"),
            told=self._told,
        )

    def _tell(self, claimed: Claimed, measured: Measurement, watched: WatchedRun) -> None:
        curve = watched.curve
        if measured.verdict is not Verdict.COMPLETED or measured.metric is None:
            self._ledger.stopped(claimed, measured, curve=curve, decision=watched.decision)
            self._say(claimed, "ended", verdict=measured.verdict.value)
            return
        values, grade = self._ledger.completed(claimed, measured, curve=curve)
        feasible = values if grade == 0.0 else None
        verdict = Verdict.OVER_BUDGET if grade else Verdict.COMPLETED
        self._say(
            claimed,
            "ended",
            values=feasible,
            metric=values[0],
            verdict=verdict.value,
            reason=measured.missing_steps,
        )

    def _fail(self, claimed: Claimed, error: BaseException) -> None:
        message = words_of(error)
        self._ledger.failed(claimed.trial, ERROR, message)
        claimed.forget()
        self._say(claimed, "ended", verdict="failed", reason=message)
        if is_device_lost(error, self._plan.device):
            raise DeviceLost(message) from error
        self._note_failure(error)

    def _hand_back(self, claimed: Claimed, why: str) -> None:
        """Hand the trial back, with its checkpoint, to whoever comes next."""
        self._ledger.handed_back(claimed.trial, why)
        self._say(claimed, "ended", verdict="interrupted", reason=why)

    def _note_failure(self, error: BaseException) -> None:
        self._failures.append(way_of_failing(error))
        last = self._failures[-SAME_FAILURES:]
        if len(last) == SAME_FAILURES and len(set(last)) == 1:
            how = f"the same way, at {last[0]}: {text_of(error)}"
            raise RepeatedFailure(f"{SAME_FAILURES} trials in a row failed {how}") from error

    def _say(self, claimed: Claimed, kind: str, **more: Any) -> None:
        self._emit(
            Event(
                kind=kind,
                number=claimed.number,
                batch_size=claimed.params.batch_size,
                learning_rate=claimed.params.learning_rate,
                n_finished=self._next.n_finished,
                goes_on=claimed.goes_on,
                **more,
            )
        )
