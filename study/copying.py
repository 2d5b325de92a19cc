"""Copies a study from one storage to another, so that a search can go on elsewhere."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from storage.url import open_storage, readable_errors, redacted
from study.create import RECORD
from study.errors import StudyError
from study.look import the_study
from study.retry import noted_by_samplers
from study.trials import DEATHS, ROOT, id_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from storage.shared import SharedStorage

SHOW_AFTER_SECONDS = 2.0
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
            say(f"{n_before} of {len(trials)} trials were copied before: going on")
        for trial in _shown(trials[n_before:]):
            storage.create_new_trial(target._study_id, template_trial=trial)
        _finish(target, trials, attributes, [id_of(trial) for trial in found])
    n_running = sum(trial.state.name == "RUNNING" for trial in found)
    if n_running:
        say(f"running trials run nowhere in the copy: {n_running} are queued there")
    name, url = shlex.quote(source.study_name), shlex.quote(redacted(target_url))
    say(
        f"copied {len(trials)} trials; go on, with the TASK as before: "
        f"make study STUDY_NAME={name} STORAGE={url}"
    )


def _template(trial: FrozenTrial) -> FrozenTrial:
    """The trial as it is to stand in the copy: one that runs is queued with its parameters."""
    import optuna
    from optuna.trial import TrialState

    if trial.state != TrialState.RUNNING:
        return trial
    kept = {k: v for k, v in trial.user_attrs.items() if k in (ROOT, DEATHS)}
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
    import optuna

    name = source.study_name
    with storage.claim_lock(name):
        if name not in optuna.get_all_study_names(storage):
            return optuna.create_study(
                storage=storage, study_name=name, directions=source.directions
            )
    target = optuna.load_study(study_name=name, storage=storage)
    there = target.get_trials(deepcopy=False)
    if RECORD in target.user_attrs:
        raise StudyError(
            f"{where} already has a study {name!r} of {len(there)} trials: go on with it, or "
            "choose another storage for --to"
        )
    if target.directions != source.directions or not _is_start(there, trials):
        raise StudyError(
            f"{where} has a study {name!r} that is no unfinished copy of this one as it is now: "
            "choose another storage for --to"
        )
    return target


def _is_start(there: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> bool:
    same = all(_content(a) == _content(b) for a, b in zip(there, trials, strict=False))
    return len(there) <= len(trials) and same


def _content(trial: FrozenTrial) -> str:
    """All but ids and times: MySQL keeps whole seconds. As text, since NaN equals nothing."""
    from optuna.distributions import distribution_to_json

    distributions = {k: distribution_to_json(d) for k, d in trial.distributions.items()}
    parts = (
        trial.number, trial.state.name, trial.values, trial.params, distributions,
        trial.user_attrs, trial.system_attrs, trial.intermediate_values,
    )  # fmt: skip
    return json.dumps(parts, sort_keys=True)


def _attributes(study: Study) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of people and of us, and those of Optuna and its dashboard."""
    storage: BaseStorage = study._storage
    return study.user_attrs, storage.get_study_system_attrs(study._study_id)


def _finish(
    target: Study,
    trials: Sequence[FrozenTrial],
    attributes: tuple[dict[str, Any], dict[str, Any]],
    old_ids: Sequence[int],
) -> None:
    """Write what belongs to the study as a whole, once all trials are there; the record last."""
    there = target.get_trials(deepcopy=False)
    if len(there) != len(trials) or not _is_start(there, trials):
        raise StudyError(
            f"the copy of {target.study_name!r} is not equal to its source: does another process "
            "write to it? end that one and choose another storage for --to"
        )
    user, system = attributes
    new_ids = dict(zip(old_ids, map(id_of, there), strict=True))
    for key, value in _with_ids(system, new_ids):
        target._storage.set_study_system_attr(target._study_id, key, value)
    for key in sorted(user, key=lambda key: key == RECORD):
        target.set_user_attr(key, user[key])


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


def _shown(trials: Sequence[FrozenTrial]) -> Iterator[FrozenTrial]:
    """The trials, with a progress bar on a terminal once it takes long."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    show_at = time.monotonic() + SHOW_AFTER_SECONDS
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task("copying trials", total=len(trials))
    try:
        for trial in trials:
            yield trial
            progress.advance(task)
            if time.monotonic() > show_at:
                progress.start()  # again is nothing new
    finally:
        progress.stop()
