"""What a worker writes into the study about its trials, in as few transactions as can be."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import Measurement
from batchfront.study.machine.process import this_process
from batchfront.study.plan.limits import Excuse
from batchfront.study.trials.attributes import (
    CONSTRAINT,
    CROWDED,
    CURVE,
    FAIL_REASON,
    HARDWARE,
    INTERRUPTED,
    OWNER,
    PAUSED,
    PREDICTED,
    REASON,
    RUN_LENGTH,
    SCALED,
    SO_FAR,
    UNPROBED,
    VERDICT,
    id_of,
)
from batchfront.study.trials.outcome import (
    OVER_BUDGET_GRADE,
    attributes_of,
    device_memory,
    grade_of,
    mirror_constraint,
    told_values,
)
from batchfront.study.trials.sound import sound_trials
from batchfront.study.workers.retry import LEASE, mend_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna import Study
    from optuna.trial import Trial, TrialState

    from batchfront.objectives.objective import Objective
    from batchfront.storage.shared import SharedStorage
    from batchfront.study.plan.plan import Plan
    from batchfront.study.pruning.decision import Decision
    from batchfront.study.trials.costs import SizeCost
    from batchfront.study.workers.claimed import Claimed

Values = tuple[float, float, float]
HAND_BACK_SECONDS = 1.0  # for the claim lock, of the few that a signal leaves


class Ledger:
    """What one worker writes down about its trials.

    Every method raises UpdateFinishedTrialError when the trial was taken away, and StudyGone when
    the study was deleted.
    """

    def __init__(self, *, storage: SharedStorage, study: Study, plan: Plan) -> None:
        self._storage = storage
        self._study = study
        self._plan = plan
        self._me = this_process()

    def claimed(self, claimed: Claimed, objective: Objective, *, lease_seconds: float) -> None:
        """Whose it is, for how long that may be silent, and how it is run."""
        params = claimed.params
        torch = sys.modules.get("torch")  # a table is played back without
        user = {
            OWNER: self._me,
            **{key: getattr(params, key) for key in ("seed", "device")},
            "epochs": self._plan.length.as_record()["epochs"],
            RUN_LENGTH: None if params.length is None else params.length.as_dict(),
            HARDWARE: self._plan.hardware,
            "torch_version": torch and str(torch.__version__),
            "compiled": objective.compiled or None,
            UNPROBED: None if claimed.is_probed else True,
            SCALED: params.learning_rate if self._plan.space.scales else None,
        }
        # Not fenced by the owner: there is none yet.
        self._storage.set_trial_attrs(
            id_of(claimed.trial), _without_none(user), {LEASE: lease_seconds}
        )

    def refused(self, claimed: Claimed, why: Excuse) -> None:
        """Told without running."""
        attributes = {PREDICTED: True, **_excused(why, claimed.cost)}
        self._pruned(claimed.trial, attributes, why.grade)

    def out_of_memory(self, claimed: Claimed, why: Excuse) -> None:
        """It could not be finished."""
        self._pruned(claimed.trial, _excused(why, claimed.cost), why.grade)

    def stopped(
        self,
        claimed: Claimed,
        measured: Measurement,
        *,
        curve: Sequence[float],
        decision: Decision | None,
    ) -> None:
        """A stop rule, or the divergence guard, ended it."""
        grade = grade_of(measured.verdict)
        known = claimed.cost_of(measured)
        attributes = {**attributes_of(measured, known), CURVE: list(curve) or None}
        if decision is not None and decision.pauses:
            attributes[PAUSED] = len(measured.metric_curve)
        self._pruned(claimed.trial, attributes, decision.grade if decision is not None else grade)

    def completed(
        self, claimed: Claimed, measured: Measurement, *, curve: Sequence[float]
    ) -> tuple[Values, float]:
        """It ran to its end; returns what was told, and by how much that breaks a budget."""
        from optuna.trial import TrialState

        trial, known = claimed.trial, claimed.cost_of(measured)
        values = told_values(measured, known)
        budgets = self._plan.budgets
        overshoot = budgets.overshoot(budgets.held(values, device_memory(measured, known)))
        grade = OVER_BUDGET_GRADE + overshoot if overshoot > 0 else 0.0
        self._write(trial, {**attributes_of(measured, known), CURVE: list(curve)}, grade)
        if grade:
            mirror_constraint(self._study, trial, grade)
        self._tell(trial, TrialState.COMPLETE, values)
        return values, grade

    def failed(self, trial: Trial, reason: str, message: str) -> None:
        """The objective raised, or it cannot go on for another reason."""
        from optuna.trial import TrialState

        self._write(trial, {FAIL_REASON: reason, REASON: message[:2000]})
        self._tell(trial, TrialState.FAIL)

    def crowded_out(self, trial: Trial, message: str) -> None:
        """It found no memory though it is known to fit, and is queued for later."""
        self._queued_again(trial, CROWDED, message)

    def n_crowded_out(self, trial: Trial) -> int:
        """How often that has happened to the run before."""
        history = self._storage.get_trial(id_of(trial)).system_attrs.get("retry_history", [])
        before = [one for one in sound_trials(self._study) if one.number in history]
        return sum(one.user_attrs.get(FAIL_REASON) == CROWDED for one in before)

    def handed_back(self, trial: Trial, message: str) -> None:
        """Ended by a signal, and queued for whoever comes next."""
        self._queued_again(trial, INTERRUPTED, message)

    def _queued_again(self, trial: Trial, reason: str, message: str) -> None:
        self.failed(trial, reason, message)
        # Whoever claims next would queue it; but that may be tomorrow, and people look now.
        with self._storage.claim_lock(self._plan.study_name, HAND_BACK_SECONDS):
            mend_queue(self._storage, self._study, sound_trials(self._study))

    def _pruned(self, trial: Trial, attributes: Mapping[str, Any], grade: float) -> None:
        from optuna.trial import TrialState

        self._write(trial, attributes, grade)
        self._tell(trial, TrialState.PRUNED)

    def _write(
        self, trial: Trial, attributes: Mapping[str, Any], grade: float | None = None
    ) -> None:
        """All at once; `grade` as the constraint that `Trial.set_constraint` would store.

        That would read the whole trial from the database, to see whether there is one already.
        """
        system = {} if grade is None else {f"constraints:{CONSTRAINT}": grade}
        with self._storage.owned(id_of(trial), self._me):
            self._storage.set_trial_attrs(id_of(trial), _without_none(attributes), system)

    def _tell(self, trial: Trial, state: TrialState, values: Values | None = None) -> None:
        """Do what `Study.tell` does, without reading the trial twice from the database.

        That would also let the sampler have its say after a trial; none of ours has any.
        """
        with self._storage.owned(id_of(trial), self._me):
            self._storage.set_trial_state_values(id_of(trial), state, values)


def _without_none(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if value is not None}


def _excused(why: Excuse, cost: SizeCost | None) -> dict[str, Any]:
    """What is known of a size that was not run to its end."""
    known = None if cost is None else [None, cost.train_seconds, cost.memory]
    predicted = None if why.memory_bytes is None else [None, None, why.memory_bytes]
    return {VERDICT: why.verdict.value, REASON: why.reason, SO_FAR: known or predicted}
