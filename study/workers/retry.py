"""Queues a trial again, with the same parameters, when its worker died or handed it back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from batchfront.study.machine.process import is_dead
from batchfront.study.trials.attributes import (
    DEATHS,
    MAX_RETRIES,
    OWNER,
    PURPOSE,
    ROOT,
    SCALED,
    SCHEDULE,
    SCORE_TEST,
    id_of,
    worker_deaths,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

ASKED = (PURPOSE, SCORE_TEST, SCALED, SCHEDULE)  # what a trial was asked for
BEAT = "batchfront_beat"  # trial system attribute: how often its worker has shown that it lives


def after_death(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial again that has just been failed because nobody hears of its worker."""
    n_deaths = worker_deaths(trial) + 1
    if n_deaths <= MAX_RETRIES:
        queue_again(study, trial, n_deaths=n_deaths)


def queue_again(study: Study, trial: FrozenTrial, *, n_deaths: int) -> None:
    """Add a waiting trial with the same parameters; its history stands where Optuna looks for it.

    Nothing that was measured goes along. What it was asked for does.
    """
    import optuna
    from optuna.trial import TrialState

    noted = noted_by_samplers(trial)
    asked = {k: v for k, v in trial.user_attrs.items() if k in ASKED}
    history = [*noted.get("retry_history", []), trial.number]
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**asked, ROOT: history[0], DEATHS: n_deaths},
            # As optuna.storages.RetryHeartbeatStaleTrialCallback keeps it.
            system_attrs={**noted, "failed_trial": history[0], "retry_history": history},
        )
    )


def noted_by_samplers(trial: FrozenTrial) -> dict[str, Any]:
    """System attributes that a trial takes along when it runs again, like the point of a grid.

    A constraint does not: it can be written only once, and could never be told again.
    """
    return {
        key: value
        for key, value in trial.system_attrs.items()
        if not key.startswith(("constraints", BEAT))
    }


def fail_and_queue(storage: BaseStorage, study: Study, trial: FrozenTrial) -> bool:
    """Fail a running trial whose worker is gone; exactly one of those who try queues it again."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        won = storage.set_trial_state_values(id_of(trial), TrialState.FAIL)
    except UpdateFinishedTrialError:  # another was faster, or the worker lived after all
        return False
    if won:
        after_death(study, trial)
    return won


def fail_lost_trials(
    storage: BaseStorage, study: Study, trials: Iterable[FrozenTrial], *, alone: bool
) -> bool:
    """Fail those of the trials whose process died, and queue them again; whether there were any.

    A trial gets its owner under the claim lock. Where that is held (`alone`), one without an owner
    lost it in between.
    """
    found = False
    for trial in trials:
        if trial.state.name != "RUNNING":
            continue
        owner = trial.user_attrs.get(OWNER)
        if alone if owner is None else is_dead(owner):
            found |= fail_and_queue(storage, study, trial)
    return found
