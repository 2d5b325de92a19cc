"""Copies a study from one storage to another, so that a search can go on elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.storage.fence import IDENTITY
from batchfront.storage.names import redacted
from batchfront.storage.open import open_storage, readable_errors
from batchfront.study.commands import command
from batchfront.study.errors import StudyError
from batchfront.study.opening.open import the_study
from batchfront.study.opening.terms import new_identity
from batchfront.study.plan.agreement import AGREEMENT, IMPORTED
from batchfront.study.show import counted
from batchfront.study.transfer.writing import add_missing, check_whole, is_start, new_or_found
from batchfront.study.trials.attributes import DEATHS, ROOT, SCALED, THAW, id_of
from batchfront.study.workers.retry import noted_by_samplers

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from batchfront.storage.shared import SharedStorage

NOTE_OF_TRIAL = re.compile(r"dashboard:(\d+):note_.+")  # keys of optuna-dashboard
PARENTS = re.compile(r"\w+:parent:\d+")  # keys of Optuna's genetic samplers
Say = Callable[[str], None]


def copy_study(source_url: str, target_url: str, study_name: str | None, say: Say) -> None:
    """Copy the study, or what an earlier attempt that was cut off has left to copy.

    The record that makes a study ours is written last: what has none is an unfinished copy.

    Raises:
        StudyError: no such study, or the target has another one of that name.
        StorageError: one of the storages cannot be used.
    """
    source = the_study(source_url, study_name)
    with readable_errors(source_url):
        found = source.get_trials(deepcopy=False)
        attributes = _attributes(source)
    trials = [_template(trial) for trial in found]
    with readable_errors(target_url):
        storage = open_storage(target_url, mode="worker")
        target = _target(storage, source, trials, redacted(target_url))
        n_before = len(target.get_trials(deepcopy=False))
        if n_before:
            say(f"{n_before} of {counted(len(trials), 'trial')} copied before: going on")
        add_missing(storage, target, trials, doing="copying trials")
        _finish(target, trials, attributes, [id_of(trial) for trial in found])
    n_running = sum(trial.state.name == "RUNNING" for trial in found)
    if n_running:
        say(f"running trials run nowhere in the copy: {n_running} are queued there")
    copied = f"copied {counted(len(trials), 'trial')}"
    where = {"study_name": source.study_name, "storage": redacted(target_url)}
    if IMPORTED in attributes[0][AGREEMENT]:  # there is nothing to go on with
        say(f"{copied}; look: {command('front', where)}")
        return
    say(f"{copied}; go on, with the task as before: {command('run', where)}")


def _template(trial: FrozenTrial) -> FrozenTrial:
    """The trial as it is to stand in the copy: one that runs is queued with its parameters."""
    import optuna
    from optuna.trial import TrialState

    if trial.state != TrialState.RUNNING:
        return trial
    kept = {k: v for k, v in trial.user_attrs.items() if k in (ROOT, DEATHS, SCALED, THAW)}
    queued = optuna.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=kept,
        system_attrs=noted_by_samplers(trial),
    )
    queued.number = trial.number
    return queued


def _target(
    storage: SharedStorage, source: Study, trials: Sequence[FrozenTrial], where: str
) -> Study:
    """The study to copy into: a new one, or an unfinished copy."""
    name = source.study_name
    target = new_or_found(storage, name, source.directions)
    there = target.get_trials(deepcopy=False)
    if AGREEMENT in target.user_attrs:
        raise StudyError(
            f"{where} already has a study {name!r} of {counted(len(there), 'trial')}: "
            "go on with it, or choose another storage for --to"
        )
    if target.directions != source.directions or not is_start(there, trials):
        raise StudyError(
            f"{where} has a study {name!r} that is no unfinished copy of this one as it is now: "
            "choose another storage for --to"
        )
    return target


def _attributes(study: Study) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes that people and we have set, and those of Optuna and its dashboard."""
    storage: BaseStorage = study._storage
    return study.user_attrs, storage.get_study_system_attrs(study._study_id)


def _finish(
    target: Study,
    trials: Sequence[FrozenTrial],
    attributes: tuple[dict[str, Any], dict[str, Any]],
    old_ids: Sequence[int],
) -> None:
    """Write what belongs to the study as a whole, once all trials are there; the record last."""
    there = check_whole(target, trials)
    user, system = attributes
    new_ids = dict(zip(old_ids, map(id_of, there), strict=True))
    for key, value in _with_ids(system, new_ids):
        target._storage.set_study_system_attr(target._study_id, key, value)
    own = user if IMPORTED in user[AGREEMENT] else {**user, IDENTITY: new_identity()}
    for key in sorted(own, key=lambda key: key == AGREEMENT):
        target.set_user_attr(key, own[key])


def _with_ids(system: dict[str, Any], new_ids: dict[int, int]) -> Iterator[tuple[str, Any]]:
    """Attributes that name trials by their ids in a storage, with those of the target."""
    for key, value in system.items():
        note = NOTE_OF_TRIAL.fullmatch(key)
        if note is not None:
            new_id = new_ids.get(int(note[1]), note[1])
            yield key.replace(f":{note[1]}:", f":{new_id}:", 1), value
        elif PARENTS.fullmatch(key):
            yield key, [new_ids[old] for old in value if old in new_ids]
        else:
            yield key, value
