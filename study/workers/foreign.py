"""Trials that others queued or left running, and that nothing can be trained with."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from batchfront.study.machine.process import is_dead
from batchfront.study.trials.attributes import FAIL_REASON, OWNER, REASON, UNUSABLE, id_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from batchfront.storage.shared import SharedStorage


def fail_foreign(
    storage: SharedStorage, foreign: Iterable[tuple[FrozenTrial, str]], *, alone: bool
) -> None:
    """Tell FAIL the foreign trials that wait, or that nobody runs; each comes with its reason.

    Otherwise whoever asks for the next trial would get them, fail, and leave them to the next one.
    They are not queued again. `alone`: whether the claim lock is held.
    """
    for trial, why in foreign:
        if _is_left(trial, alone=alone):
            _fail(storage, trial, why)


def _is_left(trial: FrozenTrial, *, alone: bool) -> bool:
    """Whether it waits, or runs without anybody: a trial gets its owner under the claim lock."""
    if trial.state.name != "RUNNING":
        return trial.state.name == "WAITING"
    owner = trial.user_attrs.get(OWNER)
    return alone if owner is None else is_dead(owner)


def _fail(storage: SharedStorage, trial: FrozenTrial, why: str) -> None:
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    with suppress(UpdateFinishedTrialError):  # another worker was faster
        storage.set_trial_attrs(
            id_of(trial), {FAIL_REASON: UNUSABLE, REASON: f"it cannot be run: {why}"}
        )
        storage.set_trial_state_values(id_of(trial), TrialState.FAIL)
