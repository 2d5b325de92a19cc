"""Queues a trial again, with the same parameters, when its worker died or handed it back.

Failing a trial and queueing it again are two writes, and whoever makes the first may die before the
second. So nobody relies on the second: at every claim the trials tell which run has no successor,
and it gets one. Where two workers do that at once, the later successor is dropped before it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from batchfront.study.machine.process import is_dead
from batchfront.study.trials.attributes import (
    CROWDED,
    DEATHS,
    DOUBLE,
    FAIL_REASON,
    INTERRUPTED,
    MAX_RETRIES,
    OWNER,
    PAUSED,
    PURPOSE,
    ROOT,
    SCALED,
    SCHEDULE,
    SCORE_TEST,
    SURPLUS,
    THAW,
    id_of,
    is_searched,
    worker_deaths,
)
from batchfront.study.trials.paused import is_thaw

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from batchfront.storage.shared import SharedStorage

ASKED = (PURPOSE, SCORE_TEST, SCALED, SCHEDULE, THAW)  # what a trial was asked for
OURS = "batchfront_"  # how system attributes of running trials begin
BEAT = "batchfront_beat"  # how often its worker has shown that it lives
LEASE = "batchfront_lease"  # for how many seconds its worker may be silent
LOST = "batchfront_lost"  # its worker died before it could write its name
HISTORY = "retry_history"  # trial system attribute of Optuna: the numbers it goes on from


def queue_again(study: Study, trial: FrozenTrial, *, n_deaths: int) -> None:
    """Add a waiting trial with the same parameters; its history stands where Optuna looks for it.

    Nothing that was measured goes along. What it was asked for does.
    """
    import optuna
    from optuna.trial import TrialState

    noted = noted_by_samplers(trial)
    asked = {k: v for k, v in trial.user_attrs.items() if k in ASKED}
    if PAUSED in trial.user_attrs:
        asked[THAW] = trial.user_attrs[PAUSED]
    history = [*noted.get(HISTORY, []), trial.number]
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**asked, ROOT: history[0], DEATHS: n_deaths},
            # As optuna.storages.RetryHeartbeatStaleTrialCallback keeps it.
            system_attrs={**noted, "failed_trial": history[0], HISTORY: history},
        )
    )


def thaw(study: Study, trial: FrozenTrial) -> None:
    """Queue what goes on with a paused trial: nobody has died at it."""
    queue_again(study, trial, n_deaths=worker_deaths(trial))


def noted_by_samplers(trial: FrozenTrial) -> dict[str, Any]:
    """System attributes that a trial takes along when it runs again, like the point of a grid.

    A constraint does not: it can be written only once, and could never be told again.
    """
    return {
        key: value
        for key, value in trial.system_attrs.items()
        if not key.startswith(("constraints", OURS))
    }


def fail_lost(storage: SharedStorage, trial: FrozenTrial) -> None:
    """Fail a running trial whose worker is gone; whoever claims next queues it again."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    with suppress(UpdateFinishedTrialError):  # another was faster, or the worker lived after all
        if OWNER not in trial.user_attrs:  # else it would look like one that people have failed
            storage.set_trial_attrs(id_of(trial), {}, {LOST: True})
        storage.set_trial_state_values(id_of(trial), TrialState.FAIL)


def fail_dead(storage: SharedStorage, trials: Iterable[FrozenTrial], *, alone: bool) -> bool:
    """Fail those of the trials whose process died; whether there were any, whoever failed them.

    A trial gets its owner under the claim lock. Where that is held (`alone`), one without an owner
    lost it in between.
    """
    dead = [
        trial
        for trial in trials
        if trial.state.name == "RUNNING"
        and (is_dead(trial.user_attrs[OWNER]) if OWNER in trial.user_attrs else alone)
    ]
    for trial in dead:
        fail_lost(storage, trial)
    return bool(dead)


def mend_queue(storage: SharedStorage, study: Study, trials: Sequence[FrozenTrial]) -> bool:
    """Give every lost run its successor, and none two; whether there was anything to do."""
    lost = lost_runs(trials)
    for trial in lost:
        died = FAIL_REASON not in trial.user_attrs
        queue_again(study, trial, n_deaths=worker_deaths(trial) + died)
    doubles = [t for t in trials if t.state.name == "WAITING" and is_double(t, trials)]
    for trial in doubles:
        drop(storage, id_of(trial))
    return bool(lost or doubles)


def lost_runs(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Failed trials that are to run again, and that nobody has queued."""
    queued = _successors(trials)
    return [
        trial
        for trial in trials
        if trial.state.name == "FAIL"
        and _is_to_run_again(trial)
        and trial.number not in queued
        and not _is_later(trial, queued)
    ]


def is_double(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether it goes on with a run that has an earlier successor."""
    return HISTORY in trial.system_attrs and _is_later(trial, _successors(trials))


def drop(storage: SharedStorage, trial_id: int, reason: str = DOUBLE) -> None:
    """Fail a trial that nobody has run: it was queued twice, or has no slot."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    with suppress(UpdateFinishedTrialError):
        storage.set_trial_attrs(trial_id, {FAIL_REASON: reason})
        storage.set_trial_state_values(trial_id, TrialState.FAIL)


def has_slot(trial: Trial, trials: Iterable[FrozenTrial], n_trials: int) -> bool:
    """Whether the total leaves room for a trial that was just asked for.

    What has not ended counts where its number is lower. So of all who ask at once those with the
    lowest numbers stay, and never too many. A paused run that goes on has the slot it had.
    """
    if is_thaw(trial):
        return True
    others = (one for one in trials if one.number != trial.number)
    taken = sum(
        is_searched(one)
        if one.state.is_finished()
        else one.number < trial.number and PURPOSE not in one.user_attrs
        for one in others
    )
    return taken < n_trials


def _is_to_run_again(trial: FrozenTrial) -> bool:
    reason = trial.user_attrs.get(FAIL_REASON)
    if reason is None:
        ours = OWNER in trial.user_attrs or LOST in trial.system_attrs
        return ours and worker_deaths(trial) < MAX_RETRIES
    return reason in (INTERRUPTED, CROWDED) or (reason == SURPLUS and ROOT in trial.user_attrs)


def _successors(trials: Iterable[FrozenTrial]) -> dict[int, int]:
    """The number of the first trial that goes on with each one's run, by that one's number.

    Those between may be missing: of a run that was paused and has gone on the last trial is there.
    """
    found: dict[int, int] = {}
    for trial in trials:  # in the order of their numbers
        for before in _history(trial):
            found.setdefault(before, trial.number)
    return found


def _is_later(trial: FrozenTrial, successors: dict[int, int]) -> bool:
    before = _predecessor(trial)
    return before is not None and successors.get(before, trial.number) != trial.number


def _predecessor(trial: FrozenTrial) -> int | None:
    history = _history(trial)
    return history[-1] if history else None


def _history(trial: FrozenTrial) -> list[int]:
    history = trial.system_attrs.get(HISTORY)
    return history if isinstance(history, list) else []
