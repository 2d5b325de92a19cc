"""ask -> objective -> tell, one trial at a time."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from objectives.hardware import free_memory, is_out_of_memory
from objectives.measurement import Measurement, TrialParams, Verdict
from objectives.run import Run
from study.comparable import store_costs, stored_costs
from study.costs import TIME_OFF, Costs, Prober, SizeCost
from study.create import Plan
from study.errors import StudyError
from study.events import Emit, Event
from study.interrupts import Interrupted, Interrupts
from study.ledger import Ledger, word_for
from study.limits import Excuse, known_limits
from study.outcome import attributes_of, way_of_failing
from study.owner import fail_lost_trials
from study.pruning.choose import make_stop_rule
from study.search.samplers import derive_seed
from study.slots import device_turn
from study.space import batch_size_of
from study.trials import ERROR, INTERRUPTED, OWNER, ROOT, is_finished, takes_slot
from study.watched import WatchedRun

if TYPE_CHECKING:
    from pathlib import Path

    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from objectives.load import Objective
    from storage.checkpoint import Checkpoint
    from storage.shared import SharedStorage
    from study.pulse import Pulse

SAME_FAILURES = 3  # in a row, and the worker gives up
MAX_REFUSALS = 100  # in a row: then nothing that can run is left
STANDBY_SECONDS = 1.0  # between two looks whether a trial of another worker is left behind
POLL_SECONDS = 0.1  # for signals, meanwhile
CLAIM_PATIENCE_SECONDS = 30.0  # how long another worker may take to claim a trial
SHORT_PATIENCE_SECONDS = 1.0


class RepeatedFailure(Exception):
    """Several trials in a row failed the same way: the study cannot go on like this."""


class Worker:
    """Runs trials of one study in this process until the total is reached."""

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
    ) -> None:
        self._storage = storage
        self._study = study
        self._plan = plan
        self._objective = objective
        self._ledger = Ledger(storage=storage, study=study, plan=plan)
        self._pulse = pulse
        self._checkpoints = checkpoints
        self._interrupts = interrupts
        self._emit = emit
        self._deadline = deadline
        self._failures: list[str] = []  # ways of failing since the last trial that did not
        self._prober = prober
        self._costs: Costs = plan.costs
        self._doubted: set[int] = set()  # sizes whose last run took another time than known
        self._checked: set[int] = set()  # of these, probed again: once by each worker
        self._refusals = 0
        self._patience = CLAIM_PATIENCE_SECONDS
        self._limits = known_limits([], plan, plan.costs)
        self._n_finished = 0  # of the study, when it was last looked at
        self._stop_rule = make_stop_rule(plan, lambda: self._costs)

    def run(self) -> None:
        """Raises RepeatedFailure; returns when the total, the deadline or a signal is reached."""
        while not self._over():
            with device_turn(self._plan.device, self._over):
                self._probe_again()
                trial = None if self._over() else self._claim()
                if trial is not None:
                    self._take(trial)
            if trial is None and not self._stand_by():
                return

    def _over(self) -> bool:
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self._interrupts.signum is not None

    def _claim(self) -> Trial | None:
        """The next trial, or None when all slots are taken."""
        from optuna.exceptions import UpdateFinishedTrialError

        while True:
            try:
                return self._ask()
            except UpdateFinishedTrialError:  # paused right after it was asked for
                self._pulse.let_go()

    def _ask(self) -> Trial | None:
        """A trial that is ours from the start.

        Counting and asking happen under one lock, so that workers never overshoot the total, and
        a sampler sees the parameters of every trial that runs beside its own.
        """
        with self._storage.claim_lock(self._plan.study_name, self._patience) as alone:
            # A holder that stood still once will do so again: it is not waited for twice.
            self._patience = CLAIM_PATIENCE_SECONDS if alone else SHORT_PATIENCE_SECONDS
            trials = self._study.get_trials(deepcopy=False)
            if fail_lost_trials(self._storage, self._study, trials, alone=alone):
                trials = self._study.get_trials(deepcopy=False)
            self._costs = stored_costs(self._study, self._plan.hardware)
            self._limits = known_limits(trials, self._plan, self._costs)
            self._n_finished = sum(map(is_finished, trials))
            n_taken = sum(map(takes_slot, trials))
            if n_taken >= self._plan.n_trials or self._interrupts.signum is not None:
                return None
            trial = self._study.ask(self._plan.space.distributions())
            self._pulse.hold(trial)  # first: who has an owner and no heartbeat is never missed
            probed = self._plan.space.is_probed(trial.params)
            self._ledger.claimed(trial, self._params(trial), self._objective, probed=probed)
            return trial

    def _stand_by(self) -> bool:
        """Wait a little while others run the last trials: one of them may die.

        Returns whether to look again. Workers of versions without a heartbeat are not waited for.
        """
        from optuna.trial import TrialState

        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not any(_will_be_missed(trial) for trial in running):
            return False
        self._emit(Event(kind="waiting", n_finished=self._n_finished, n_running=len(running)))
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
        excuse = self._limits.excuse(size) if known else None
        if excuse is None:
            self._refusals = 0
            return False
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            self._ledger.failed(trial, INTERRUPTED, excuse.reason)
            raise RepeatedFailure(f"{MAX_REFUSALS} proposals in a row cannot run: {excuse.reason}")
        self._ledger.refused(trial, excuse, self._cost_of(trial))
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

    def _params(self, trial: Trial) -> TrialParams:
        plan = self._plan
        return TrialParams(
            batch_size=batch_size_of(trial.params),
            learning_rate=trial.params["learning_rate"],
            epochs=plan.epochs,
            seed=derive_seed(plan.seed, self._root(trial), purpose="trial"),
            device=plan.device,
            extra=plan.space.own(trial.params),
        )

    def _run_trial(self, trial: Trial) -> None:
        params = self._params(trial)
        self._say(trial, "started")
        checkpoint = self._checkpoint_of(trial, params)
        watched = self._watched(trial, params, checkpoint)
        try:
            measurement = watched.measure(self._objective)
        except Interrupted:
            self._ledger.handed_back(trial, "ended by a signal")
            self._say(trial, "ended", verdict="interrupted")
            return
        except (Exception, SystemExit) as error:  # user code may raise anything; we go on
            if error is watched.broken:  # not the user's objective failed
                if isinstance(error, StudyError):  # but a pruner, so the trial can be handed back
                    self._fail(trial, INTERRUPTED, str(error))
                raise
            if is_out_of_memory(error):
                self._out_of_memory(trial, error)
            else:
                self._fail(trial, ERROR, f"{type(error).__name__}: {error}")
                self._note_failure(error)
        else:
            self._failures.clear()
            self._tell(trial, measurement, watched)
        if checkpoint is not None:
            checkpoint.remove()

    @staticmethod
    def _root(trial: Trial) -> int:
        """Number of the trial whose run this one goes on with, or its own."""
        return int(trial.user_attrs.get(ROOT, trial.number))

    def _checkpoint_of(self, trial: Trial, params: TrialParams) -> Checkpoint | None:
        """The same for a trial and those that take it up; another on other hardware."""
        from storage.checkpoint import Checkpoint

        if self._checkpoints is None:
            return None
        identity = {
            "study": self._plan.study_name,
            "study_id": self._plan.study_id,
            "trial": self._root(trial),
            "params": trial.params,
            "epochs": params.epochs,
            "seed": params.seed,
            "hardware": self._plan.hardware,
            "compiled": self._objective.compiled,
        }
        return Checkpoint(self._checkpoints, identity)

    def _out_of_memory(self, trial: Trial, error: BaseException) -> None:
        size = batch_size_of(trial.params)
        said = (str(error) or type(error).__name__).splitlines()[0]
        free_memory(error)
        excuse: Excuse = self._limits.out_of_memory(size, f"ran out of memory: {said[:300]}")
        self._ledger.out_of_memory(trial, excuse, self._cost_of(trial))
        self._say(trial, "ended", verdict=excuse.verdict.value)

    def _watched(
        self, trial: Trial, params: TrialParams, checkpoint: Checkpoint | None
    ) -> WatchedRun:
        known = self._known(trial)
        run = Run(
            device=params.device,
            metric=self._objective.metric,
            target=self._plan.target,
            measure_memory=known is None,
            compiled=self._objective.compiled,
        )
        return WatchedRun(
            study=self._study,
            trial=trial,
            params=params,
            run=run,
            known=known,
            rule=self._stop_rule,
            checkpoint=checkpoint,
            interrupts=self._interrupts,
            say=partial(self._say, trial, "epoch"),
        )

    def _cost_of(self, trial: Trial) -> SizeCost | None:
        """What a probe says of this trial's size."""
        cost = self._costs.get(batch_size_of(trial.params))
        return cost if self._plan.space.is_probed(trial.params) else None

    def _known(self, trial: Trial) -> SizeCost | None:
        cost = self._cost_of(trial)
        return cost if cost is not None and cost.train_seconds is not None else None

    def _tell(self, trial: Trial, measured: Measurement, watched: WatchedRun) -> None:
        known, curve = self._known(trial), watched.curve
        if abs(attributes_of(measured, known).get("time_off") or 0.0) > TIME_OFF:
            self._doubted.add(batch_size_of(trial.params))
        if measured.verdict is not Verdict.COMPLETED or measured.metric is None:
            decision = watched.decision
            self._ledger.stopped(trial, measured, known=known, curve=curve, decision=decision)
            self._say(trial, "ended", verdict=measured.verdict.value)
            return
        values, grade = self._ledger.completed(trial, measured, known=known, curve=curve)
        feasible = values if grade == 0.0 else None
        self._say(trial, "ended", values=feasible, metric=values[0], verdict=word_for(grade))

    def _fail(self, trial: Trial, reason: str, message: str) -> None:
        self._ledger.failed(trial, reason, message)
        word = "interrupted" if reason == INTERRUPTED else "failed"
        self._say(trial, "ended", verdict=word, reason=message)

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
                learning_rate=trial.params["learning_rate"],
                n_finished=self._n_finished,
                **more,
            )
        )


def _will_be_missed(trial: FrozenTrial) -> bool:
    """Whether somebody will notice if its worker dies."""
    owner = trial.user_attrs.get(OWNER)
    return owner is None or "boot" in owner  # versions without a heartbeat did not write that
