"""ask -> objective -> tell, one trial at a time."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from objectives.device.hardware import free_memory, is_out_of_memory
from objectives.device.names import devices_of
from objectives.measurement import Measurement, Verdict
from objectives.training.recipe import n_ranks
from study.errors import StudyError
from study.machine.interrupts import Interrupted, Interrupts
from study.machine.slots import device_turn
from study.plan.limits import Excuse
from study.plan.plan import Plan
from study.probes.prober import Prober
from study.pruning.by_name import make_stop_rule
from study.pruning.decision import NeverStop
from study.trials.attributes import ERROR, PURPOSE, SCHEDULE, batch_size_of
from study.trials.costs import TIME_OFF, SizeCost
from study.trials.growing import cost_of
from study.trials.hardware import store_costs, stored_costs
from study.trials.outcome import time_off, way_of_failing
from study.workers.events import Emit, Event
from study.workers.ledger import Ledger
from study.workers.next_trial import NextTrial
from study.workers.trial_run import checkpoint_of, params_of, rate_for, run_of
from study.workers.watched import WatchedRun

if TYPE_CHECKING:
    from pathlib import Path

    from optuna import Study
    from optuna.trial import Trial

    from objectives.objective import Objective
    from storage.checkpoint import Checkpoint
    from storage.shared import SharedStorage
    from study.workers.next_trial import Agenda
    from study.workers.pulse import Pulse

SAME_FAILURES = 3  # in a row, and the worker gives up
MAX_REFUSALS = 100  # in a row: then nothing that can run is left
STANDBY_SECONDS = 1.0  # between two looks whether a trial of another worker is left behind
POLL_SECONDS = 0.1  # for signals, meanwhile


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
        prober: Prober,
        pulse: Pulse,
        checkpoints: Path | None,
        interrupts: Interrupts,
        emit: Emit,
        deadline: float | None = None,  # of time.monotonic()
        agenda: Agenda | None = None,  # what is run instead of the sampler's proposals
    ) -> None:
        self._storage = storage
        self._study = study
        self._plan = plan
        self._objective = objective
        self._ledger = Ledger(storage=storage, study=study, plan=plan)
        self._next = NextTrial(
            storage=storage,
            study=study,
            plan=plan,
            objective=objective,
            ledger=self._ledger,
            pulse=pulse,
            interrupts=interrupts,
            agenda=agenda,
        )
        self._devices = devices_of(plan.device, n_ranks(objective))
        self._pulse = pulse
        self._checkpoints = checkpoints
        self._interrupts = interrupts
        self._emit = emit
        self._deadline = deadline
        self._failures: list[str] = []  # ways of failing since the last trial that did not
        self._prober = prober
        self._doubted: set[int] = set()  # sizes whose last run took another time than known
        self._checked: set[int] = set()  # of these, probed again: once by each worker
        self._refusals = 0
        self._stop_rule = make_stop_rule(plan, lambda: self._next.costs)

    def run(self) -> None:
        """Raises RepeatedFailure; returns when the total, the deadline or a signal is reached."""
        while not self._over():
            with device_turn(self._devices, self._over):
                self._probe_again()
                trial = None if self._over() else self._next.next()
                if trial is not None:
                    self._take(trial)
            if trial is None and not self._stand_by():
                return

    def _over(self) -> bool:
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self._interrupts.signum is not None

    def _stand_by(self) -> bool:
        """Wait a little while others run the last trials: one of them may die.

        Returns whether to look again.
        """
        n_running = self._next.n_running()
        if n_running == 0:
            return False
        n_finished = self._next.n_finished
        self._emit(Event(kind="waiting", n_finished=n_finished, n_running=n_running))
        look_at = time.monotonic() + STANDBY_SECONDS
        while time.monotonic() < look_at and not self._over():
            time.sleep(POLL_SECONDS)
        return True

    def _take(self, trial: Trial) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            if not self._refused(trial):
                self._run_trial(trial)
        except UpdateFinishedTrialError:
            # We were paused or cut off for so long that another took the trial: its result counts.
            self._say(trial, "ended", verdict="taken over")
        finally:
            self._pulse.let_go()

    def _refused(self, trial: Trial) -> bool:
        """Tell a trial at once whose batch size is known not to fit or to break a budget."""
        size = batch_size_of(trial.params)
        known = self._plan.space.is_probed(trial.params)
        excuse = self._next.limits.excuse(size) if known else None
        if excuse is None:
            self._refusals = 0
            return False
        self._ledger.refused(trial, excuse, self._cost_of(trial))
        self._forget(trial)  # what an earlier worker of its run has kept
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            raise RepeatedFailure(f"{MAX_REFUSALS} proposals in a row cannot run: {excuse.reason}")
        return True

    def _probe_again(self) -> None:
        """Before the next trial, check the sizes whose last run took another time than known."""
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

    def _run_trial(self, trial: Trial) -> None:
        self._say(trial, "started")
        watched = self._watched(trial)
        try:
            measurement = watched.measure(self._objective)
        except Interrupted:
            self._hand_back(trial, "ended by a signal")
            return
        except (Exception, SystemExit) as error:  # user code may raise anything; we go on
            if error is watched.broken:  # not the user's objective failed
                if isinstance(error, StudyError):  # but a pruner, which can be mended
                    self._hand_back(trial, str(error))
                raise
            if is_out_of_memory(error):
                self._out_of_memory(trial, error)
            else:
                self._fail(trial, error)
        else:
            self._failures.clear()
            self._tell(trial, measurement, watched)
            self._forget(trial)

    def _checkpoint_of(self, trial: Trial) -> Checkpoint | None:
        if self._checkpoints is None:
            return None
        return checkpoint_of(trial, self._plan, self._objective, self._checkpoints)

    def _out_of_memory(self, trial: Trial, error: BaseException) -> None:
        size = batch_size_of(trial.params)
        said = (str(error) or type(error).__name__).splitlines()[0]
        free_memory(error)
        excuse: Excuse = self._next.limits.out_of_memory(size, f"ran out of memory: {said[:300]}")
        self._ledger.out_of_memory(trial, excuse, self._cost_of(trial))
        self._forget(trial)
        self._say(trial, "ended", verdict=excuse.verdict.value)

    def _watched(self, trial: Trial) -> WatchedRun:
        known = self._known(trial)
        return WatchedRun(
            study=self._study,
            trial=trial,
            params=params_of(trial, self._plan),
            run=run_of(self._plan, self._objective, measure_memory=not self._is_told(trial, known)),
            known=known,
            rule=NeverStop() if PURPOSE in trial.user_attrs else self._stop_rule,
            checkpoint=self._checkpoint_of(trial),
            interrupts=self._interrupts,
            say=partial(self._say, trial, "epoch"),
        )

    def _cost_of(self, trial: Trial) -> SizeCost | None:
        """What probes say of a run that starts at this trial's size."""
        cost = self._next.limits.runs.get(batch_size_of(trial.params))
        return cost if self._plan.space.is_probed(trial.params) else None

    def _known(self, trial: Trial) -> SizeCost | None:
        cost = None if SCHEDULE in trial.user_attrs else self._cost_of(trial)
        return cost if cost is not None and cost.train_seconds is not None else None

    def _is_told(self, trial: Trial, known: SizeCost | None) -> bool:
        """Whether probes say what the run will be told, wherever its batch size may grow to."""
        growth, costs = self._plan.growth, self._next.costs
        sizes = growth.reachable(batch_size_of(trial.params)) if growth is not None else []
        grown = [costs.get(size) for size in sizes]
        return known is not None and all(cost is not None and cost.step_seconds for cost in grown)

    def _known_of(self, trial: Trial, measured: Measurement) -> SizeCost | None:
        """The known cost of the run as it turned out to be: its batch size may have grown."""
        costs, phases = self._next.costs, measured.phases
        if not self._plan.space.is_probed(trial.params):
            return None
        cost = cost_of(phases, costs) if phases else costs.get(batch_size_of(trial.params))
        return cost if cost is not None and cost.train_seconds is not None else None

    def _tell(self, trial: Trial, measured: Measurement, watched: WatchedRun) -> None:
        known, curve = self._known_of(trial, measured), watched.curve
        if abs(time_off(measured, known) or 0.0) > TIME_OFF:
            grown = {phase.batch_size for phase in measured.phases}
            self._doubted |= grown or {batch_size_of(trial.params)}
        if measured.verdict is not Verdict.COMPLETED or measured.metric is None:
            decision = watched.decision
            self._ledger.stopped(trial, measured, known=known, curve=curve, decision=decision)
            self._say(trial, "ended", verdict=measured.verdict.value)
            return
        values, grade = self._ledger.completed(trial, measured, known=known, curve=curve)
        feasible = values if grade == 0.0 else None
        verdict = Verdict.OVER_BUDGET if grade else Verdict.COMPLETED
        self._say(trial, "ended", values=feasible, metric=values[0], verdict=verdict.value)

    def _fail(self, trial: Trial, error: BaseException) -> None:
        message = f"{type(error).__name__}: {error}"
        self._ledger.failed(trial, ERROR, message)
        self._forget(trial)
        self._say(trial, "ended", verdict="failed", reason=message)
        self._note_failure(error)

    def _hand_back(self, trial: Trial, why: str) -> None:
        """Hand the trial back, with its checkpoint, to whoever comes next."""
        self._ledger.handed_back(trial, why)
        self._say(trial, "ended", verdict="interrupted", reason=why)

    def _forget(self, trial: Trial) -> None:
        """Its checkpoint, once it is told; one that was taken over belongs to another."""
        checkpoint = self._checkpoint_of(trial)
        if checkpoint is not None:
            checkpoint.remove()

    def _note_failure(self, error: BaseException) -> None:
        self._failures.append(way_of_failing(error))
        last = self._failures[-SAME_FAILURES:]
        if len(last) == SAME_FAILURES and len(set(last)) == 1:
            raise RepeatedFailure(
                f"{SAME_FAILURES} trials in a row failed the same way, at {last[0]}: {error}"
            ) from error

    def _say(self, trial: Trial, kind: str, **more: Any) -> None:
        self._emit(
            Event(
                kind=kind,
                number=trial.number,
                batch_size=batch_size_of(trial.params),
                learning_rate=rate_for(trial, self._plan.space),
                n_finished=self._next.n_finished,
                **more,
            )
        )
