"""ask -> objective -> tell, one trial at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
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
from study.limits import OVER_BUDGET_GRADE, Excuse, Limits, known_limits
from study.outcome import GRADES, attributes_of, mirror_constraint, told_values, way_of_failing
from study.owner import fail_lost_trials, this_process
from study.pruning.choose import make_stop_rule
from study.pruning.decision import Decision
from study.search.samplers import derive_seed
from study.slots import device_turn
from study.space import batch_size_of
from study.trials import (
    CONSTRAINT,
    ERROR,
    FAIL_REASON,
    HARDWARE,
    INTERRUPTED,
    OWNER,
    PREDICTED,
    REASON,
    SO_FAR,
    UNPROBED,
    VERDICT,
    takes_slot,
)
from study.watched import WatchedRun

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

    from objectives.load import Objective

SAME_FAILURES = 3  # in a row, and the worker gives up
MAX_REFUSALS = 100  # in a row: then nothing that can run is left


class RepeatedFailure(Exception):
    """Several trials in a row failed the same way: the study cannot go on like this."""


class Worker:
    """Runs trials of one study in this process until the total is reached."""

    def __init__(
        self,
        *,
        study: Study,
        plan: Plan,
        objective: Objective,
        prober: Prober,
        claim_lock: Callable[[], AbstractContextManager[None]],
        interrupts: Interrupts,
        emit: Emit,
        deadline: float | None = None,  # of time.monotonic()
    ) -> None:
        self._study = study
        self._plan = plan
        self._objective = objective
        self._claim_lock = claim_lock
        self._interrupts = interrupts
        self._emit = emit
        self._deadline = deadline
        self._failures: list[str] = []  # ways of failing since the last trial that did not
        self._prober = prober
        self._costs: Costs = plan.costs
        self._doubted: set[int] = set()  # sizes whose last run took another time than known
        self._checked: set[int] = set()  # of these, probed again: once by each worker
        self._refusals = 0
        self._stop_rule = make_stop_rule(plan, lambda: self._costs)

    def run(self) -> None:
        """Raises RepeatedFailure; returns when the total, the deadline or a signal is reached."""
        while not self._over():
            with device_turn(self._plan.device, self._over):
                self._probe_again()
                trial = None if self._over() else self._claim()
                if trial is None:
                    return
                if not self._refused(trial):
                    self._run_trial(trial)

    def _over(self) -> bool:
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self._interrupts.signum is not None

    def _claim(self) -> Trial | None:
        """The next trial, or None when all slots are taken.

        Counting and asking happen under one lock, so that workers never overshoot the total, and
        a sampler sees the parameters of every trial that runs beside its own.
        """
        with self._claim_lock():
            fail_lost_trials(self._study)
            self._costs = stored_costs(self._study, self._plan.hardware)
            taken = [t for t in self._study.get_trials(deepcopy=False) if takes_slot(t)]
            if len(taken) >= self._plan.n_trials or self._interrupts.signum is not None:
                return None
            trial = self._study.ask(self._plan.space.distributions())
            trial.set_user_attr(OWNER, this_process())
            return trial

    def _refused(self, trial: Trial) -> bool:
        """Tell a trial at once whose batch size is known not to fit or to break a budget."""
        size = batch_size_of(trial.params)
        known = self._plan.space.is_probed(trial.params)
        excuse = self._limits().excuse(size) if known else None
        if excuse is None:
            self._refusals = 0
            return False
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            self._fail(trial, INTERRUPTED, excuse.reason)
            raise RepeatedFailure(f"{MAX_REFUSALS} proposals in a row cannot run: {excuse.reason}")
        trial.set_user_attr(PREDICTED, True)
        trial.set_user_attr(HARDWARE, self._plan.hardware)
        self._prune(trial, excuse)
        return True

    def _limits(self) -> Limits:
        return known_limits(self._study, self._plan, self._costs)

    def _prune(self, trial: Trial, why: Excuse) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr(VERDICT, why.verdict.value)
        trial.set_user_attr(REASON, why.reason)
        cost = self._costs.get(batch_size_of(trial.params))
        if cost is not None and self._plan.space.is_probed(trial.params):
            trial.set_user_attr(SO_FAR, [None, cost.train_seconds, cost.memory])
        trial.set_constraint(CONSTRAINT, why.grade)
        self._study.tell(trial, state=TrialState.PRUNED)

    def _probe_again(self) -> None:
        """Before the next trial, check the sizes whose last run took another time than known."""
        for size in sorted(self._doubted - self._checked):
            with self._claim_lock():
                before = stored_costs(self._study, self._plan.hardware)
            try:
                with self._interrupts.armed():
                    after = self._prober.again(size, before[size])
            except Interrupted:
                return
            if after != before[size]:
                with self._claim_lock():
                    latest = stored_costs(self._study, self._plan.hardware)
                    store_costs(self._study, self._plan.hardware, {**latest, size: after})
            self._checked.add(size)

    def _run_trial(self, trial: Trial) -> None:
        import torch

        plan = self._plan
        params = TrialParams(
            batch_size=batch_size_of(trial.params),
            learning_rate=trial.params["learning_rate"],
            epochs=plan.epochs,
            seed=derive_seed(plan.seed, trial.number, purpose="trial"),
            device=plan.device,
            extra=plan.space.own(trial.params),
        )
        for key in ("seed", "epochs", "device"):
            trial.set_user_attr(key, getattr(params, key))
        trial.set_user_attr(HARDWARE, plan.hardware)
        trial.set_user_attr("torch_version", torch.__version__)
        if self._objective.compiled:
            trial.set_user_attr("compiled", True)
        if not plan.space.is_probed(trial.params):
            trial.set_user_attr(UNPROBED, True)
        self._say(trial, "started")
        watched = self._watched(trial, params)
        try:
            measurement = watched.measure(self._objective)
        except Interrupted:
            self._fail(trial, INTERRUPTED, "ended by a signal")
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
            self._tell(trial, measurement, watched.decision)

    def _out_of_memory(self, trial: Trial, error: BaseException) -> None:
        size = batch_size_of(trial.params)
        said = (str(error) or type(error).__name__).splitlines()[0]
        free_memory(error)
        excuse = self._limits().out_of_memory(size, f"ran out of memory: {said[:300]}")
        self._prune(trial, excuse)
        self._say(trial, "ended", verdict=excuse.verdict.value)

    def _watched(self, trial: Trial, params: TrialParams) -> WatchedRun:
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
            interrupts=self._interrupts,
            say=partial(self._say, trial, "epoch"),
        )

    def _known(self, trial: Trial) -> SizeCost | None:
        cost = self._costs.get(batch_size_of(trial.params))
        known = cost is not None and cost.train_seconds is not None
        return cost if known and self._plan.space.is_probed(trial.params) else None

    def _tell(self, trial: Trial, measured: Measurement, decision: Decision | None) -> None:
        from optuna.trial import TrialState

        size = batch_size_of(trial.params)
        known = self._known(trial)
        attributes = attributes_of(measured, known)
        if abs(attributes.get("time_off") or 0.0) > TIME_OFF:
            self._doubted.add(size)
        for key, value in attributes.items():
            if value is not None:
                trial.set_user_attr(key, value)
        if measured.verdict is not Verdict.COMPLETED or measured.metric is None:
            # The constraint is write-once and a retry inherits it, so it comes last before tell.
            grade = GRADES.get(measured.verdict, OVER_BUDGET_GRADE)
            trial.set_constraint(CONSTRAINT, decision.grade if decision is not None else grade)
            self._study.tell(trial, state=TrialState.PRUNED)
            self._say(trial, "ended", verdict=measured.verdict.value)
            return
        values = told_values(measured, known)
        overshoot = self._plan.budgets.overshoot(values)
        grade = OVER_BUDGET_GRADE + overshoot if overshoot > 0 else 0.0
        trial.set_constraint(CONSTRAINT, grade)
        if grade:
            mirror_constraint(self._study, trial, grade)
        self._study.tell(trial, values)
        feasible = values if grade == 0.0 else None
        self._say(trial, "ended", values=feasible, metric=values[0], verdict=self._word(grade))

    @staticmethod
    def _word(grade: float) -> str:
        return (Verdict.OVER_BUDGET if grade else Verdict.COMPLETED).value

    def _fail(self, trial: Trial, reason: str, message: str) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr(FAIL_REASON, reason)
        trial.set_user_attr(REASON, message[:2000])
        self._study.tell(trial, state=TrialState.FAIL)
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
                **more,
            )
        )
