"""Deletes a study with what is kept of its runs, once somebody has agreed to what goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batchfront.storage.names import redacted
from batchfront.storage.open import exists, open_storage, readable_errors
from batchfront.study.errors import StudyError
from batchfront.study.opening.open import open_study
from batchfront.study.opening.terms import stored_identity
from batchfront.study.show import counted, human_bytes
from batchfront.study.trials.kept import bytes_of, kept_beside, kept_files

if TYPE_CHECKING:
    from optuna import Study


def delete_study(
    url: str, name: str, *, checkpoints: Path | None, agree: Callable[[str], bool]
) -> bool:
    """Delete the study if `agree` says so to a line that tells what goes; whether it is gone.

    `checkpoints`: the folder that its runs are kept in; None: the one beside the storage.

    Raises:
        StudyError: there is no such study, or it is not ours to delete.
    """
    import optuna

    if not exists(url):
        raise StudyError(f"there is no storage {redacted(url)}, so nothing to delete")
    folder = checkpoints or kept_beside(url)
    with readable_errors(url):
        storage = open_storage(url, mode="worker")
        study = open_study(storage, name)
        if not agree(_said(study, url, folder)):
            return False
        with storage.claim_lock(name):
            kept = _kept(study, folder)
            _remove(kept)  # first: who is cut off here gives the command again, and it finds both
            optuna.delete_study(study_name=name, storage=storage)
        _remove(kept)  # also what a worker has kept since, before it found the study gone
        return True


def _kept(study: Study, folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    return kept_files(study, folder, study_id=stored_identity(study))


def _said(study: Study, url: str, folder: Path | None) -> str:
    trials = study.get_trials(deepcopy=False)
    n_running = sum(trial.state.name == "RUNNING" for trial in trials)
    kept = _kept(study, folder)
    running = f" ({n_running} running: their workers will end)" if n_running else ""
    sizes = f"{counted(len(kept), 'file')} of {human_bytes(bytes_of(kept))}"
    files = f" and {sizes} in {folder}" if kept else ""
    return (
        f"study {study.study_name!r} in {redacted(url)}: {counted(len(trials), 'trial')}{running}"
        f"{files} will be deleted"
    )


def _remove(files: list[Path]) -> None:
    for path in files:
        with suppress(OSError):  # a run that has just ended; or a folder, which is none of ours
            path.unlink()
