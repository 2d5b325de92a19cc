"""Opens studies for looking; never blocks a worker."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from batchfront.storage.glance import Study as Glanced
from batchfront.storage.names import redacted
from batchfront.storage.open import at_a_glance, exists, open_storage, readable_errors
from batchfront.study.commands import setting
from batchfront.study.errors import StudyError
from batchfront.study.opening.terms import stored_identity
from batchfront.study.plan.agreement import AGREEMENT, check_record
from batchfront.study.show import counted
from batchfront.study.trials.attributes import is_finished
from batchfront.study.trials.kept import bytes_of, kept_beside, kept_files
from batchfront.study.trials.paused import is_paused
from batchfront.study.trials.sound import Rules, sound_trials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from batchfront.study.plan.settings import StudySettings


def study_rows(url: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Name, trial counts and bytes of checkpoints of every study, batchfront's and Optuna's.

    The bytes are of the folder beside the storage; None where there is none. The second list is of
    the studies that Optuna alone has made, with how to import each.
    """
    folder = kept_beside(url)
    with readable_errors(url), at_a_glance(url) as glanced:
        if glanced is None:
            storage = open_storage(url, mode="reader")
            ours, others = _our_studies(storage), foreign_studies(storage)
        else:
            ours, others = _divided(glanced)
        return [_row(s, folder) for s in ours], [_foreign_row(s, url) for s in others]


def _divided(studies: list[Glanced]) -> tuple[list[Study], list[Study]]:
    """Our studies, and those of others; they have all of a `Study` that a row asks for."""
    ours = [study for study in studies if AGREEMENT in study.user_attrs]
    others = [s for s in studies if not any(map(_is_ours, (*s.user_attrs, *s.system_attrs)))]
    return cast("tuple[list[Study], list[Study]]", (ours, others))


def _our_studies(storage: BaseStorage) -> list[Study]:
    import optuna

    names = optuna.get_all_study_names(storage)
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    return [study for study in studies if AGREEMENT in study.user_attrs]


def foreign_studies(storage: BaseStorage) -> list[Study]:
    """The studies that others have made with Optuna: nothing in them is ours."""
    import optuna

    names = optuna.get_all_study_names(storage)
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    return [study for study in studies if not any(map(_is_ours, _attributes(storage, study)))]


def _attributes(storage: BaseStorage, study: Study) -> list[str]:
    return [*study.user_attrs, *storage.get_study_system_attrs(study._study_id)]


def _is_ours(attribute: str) -> bool:
    return attribute == AGREEMENT or attribute.startswith("batchfront")


def foreign_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each study that Optuna alone has made, from its row."""
    return [
        f"{row['study_name']!r} ({counted(row['n_trials'], 'trial')}) was made by Optuna: "
        f"{row['import']}"
        for row in rows
    ]


def _foreign_row(study: Study, url: str) -> dict[str, Any]:
    trials = study.get_trials(deepcopy=False)
    name = shlex.quote(study.study_name)
    return {
        **_counts(study, Counter(t.state.name for t in trials if t.state.is_finished()), trials),
        "n_trials": len(trials),  # those that wait, too: whoever made it knows what counts
        "checkpoint_bytes": None,
        "made_by": "Optuna",
        "import": f"batchfront import {redacted(url)} --study-name {name}",
    }


def _row(study: Study, folder: Path | None) -> dict[str, Any]:
    check_record(study)
    if isinstance(study, Glanced):
        study = study.without(Rules.of(study).settled)
    trials = sound_trials(study)
    return {
        **_counts(study, Counter(t.state.name for t in trials if is_finished(t)), trials),
        "checkpoint_bytes": None if folder is None else bytes_of(_kept(study, folder)),
        "made_by": "batchfront",
    }


def _counts(study: Study, finished: Counter[str], trials: Iterable[FrozenTrial]) -> dict[str, Any]:
    return {
        "study_name": study.study_name,
        "n_trials": finished.total(),
        "n_complete": finished["COMPLETE"],
        "n_pruned": finished["PRUNED"],
        "n_paused": sum(map(is_paused, trials)),
        "n_fail": finished["FAIL"],
        "n_running": sum(t.state.name == "RUNNING" for t in trials),
    }


def _kept(study: Study, folder: Path) -> list[Path]:
    return kept_files(study, folder, study_id=stored_identity(study))


def the_study(url: str, name: str | None) -> Study:
    """The study of that name, or the only one there is.

    Raises:
        StudyError: no such study, or several and no name given.
    """
    with readable_errors(url):
        storage = open_storage(url, mode="reader")
        if name is None:
            names = [study.study_name for study in _our_studies(storage)]
            if len(names) != 1:
                found = ", ".join(map(repr, names)) or "none"
                choose = f"choose with {setting('study_name')}"
                raise StudyError(f"which study? there are {found}: {choose}")
            name = names[0]
        return open_study(storage, name)


def study_so_far(url: str, name: str) -> Study | None:
    """The study of that name for looking; None until a worker has created all of it."""
    import optuna

    if not exists(url):
        return None
    storage = open_storage(url, mode="reader")
    if name not in optuna.get_all_study_names(storage):
        return None
    study = optuna.load_study(study_name=name, storage=storage)
    if AGREEMENT not in study.user_attrs:
        return None
    check_record(study)
    return study


def find_study(url: str, name: str) -> Study | None:
    """The study of that name for writing; None when storage or study is not there yet."""
    import optuna

    if not exists(url):
        return None
    storage = open_storage(url, mode="late worker")
    return open_study(storage, name) if name in optuna.get_all_study_names(storage) else None


def open_study(storage: BaseStorage, study_name: str) -> Study:
    """An existing study of ours.

    Raises:
        StudyError: no such study, or one that batchfront did not make.
    """
    import optuna

    try:
        study = optuna.load_study(study_name=study_name, storage=storage)
    except KeyError:
        names = optuna.get_all_study_names(storage)
        there = f"there are {', '.join(map(repr, names))}" if names else "the storage has none"
        raise StudyError(f"there is no study {study_name!r}: {there}") from None
    if AGREEMENT not in study.user_attrs:
        raise StudyError(
            f"study {study_name!r} was not made by batchfront, or is a copy that was cut off: "
            "choose another --study-name, or give the copy (or import) command again"
        )
    check_record(study)
    return study


def study_name_of(settings: StudySettings) -> str:
    """The name of the study that the settings mean, whether it is there or not."""
    from batchfront.objectives.spec import task_name

    if settings.study_name is not None:
        return settings.study_name
    return task_name(settings.task) if settings.given is None else settings.task


def stored_record(settings: StudySettings) -> Mapping[str, Any] | None:
    """What must not change within the study that the settings name; None where there is none."""
    name = study_name_of(settings)
    with readable_errors(settings.storage):
        study = study_so_far(settings.storage, name)
    return None if study is None else study.user_attrs[AGREEMENT]
