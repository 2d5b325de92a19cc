"""What a node of a Ray cluster gets from here: our packages and the user's files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchfront.objectives.spec import task_file, task_name
from batchfront.storage.names import anchored
from batchfront.study.errors import StudyError
from batchfront.study.plan.settings import StudySettings

EXCLUDED = [".git", ".venv", "__pycache__", "runs", "*.db", "*.db-wal", "*.db-shm"]


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """How a worker is told what to run where nothing of this machine's folders exists."""

    settings: StudySettings
    runtime_env: dict[str, Any]  # of Ray; never holds the settings, as Ray shows it


@contextmanager
def shipment(settings: StudySettings) -> Iterator[Shipment]:
    """The settings as a node reads them, and the folders to send there.

    Raises:
        ObjectiveError, StudyError, StorageError: a task, a pruner or a storage that cannot be.
    """
    theirs = replace(
        settings,
        task=task_name(settings.task),
        data_dir=str(Path(settings.data_dir).resolve()),  # each machine has its own of that name
        study_name=settings.study_name or task_name(settings.task),
        pruner=_pruner_there(settings.pruner),
        storage=anchored(settings.storage),
        checkpoint_dir=_anchored_folder(settings.checkpoint_dir),
        launcher="local",
        n_workers=1,
    )
    with TemporaryDirectory(prefix="batchfront-") as scratch:
        empty = Path(scratch, "empty")
        empty.mkdir()
        runtime_env = {
            "py_modules": [str(_package(Path(scratch)))],
            "working_dir": str(_folder(_files(settings), empty)),
            "excludes": EXCLUDED,
        }
        yield Shipment(settings=theirs, runtime_env=runtime_env)


def _package(scratch: Path) -> Path:
    """Our package laid out as a wheel does: in a checkout its parts are links, which Ray skips."""
    import batchfront

    there = scratch / "batchfront"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(str(batchfront.__file__)).parent, there, ignore=ignored)
    return there


def _pruner_there(pruner: str | None) -> str | None:
    """`path/to/mine.py:name` as it is called within its folder; other names as they are."""
    path, colon, name = (pruner or "").rpartition(":")
    return f"{Path(path).name}:{name}" if colon else pruner


def _anchored_folder(name: str | None) -> str | None:
    """A folder that all nodes see, by a name that does not depend on where they start."""
    return name if name in (None, "none") else str(Path(name).resolve())


def _files(settings: StudySettings) -> list[Path]:
    """The files of the user's own task and pruner; none for what is bundled."""
    files = [task_file(settings.task)]
    path, colon, _ = (settings.pruner or "").rpartition(":")
    if colon:
        if not Path(path).is_file():
            raise StudyError(f"pruner file {path!r} is not there (looked from {Path.cwd()})")
        files.append(Path(path).resolve())
    return [file for file in files if file is not None]


def _folder(files: list[Path], scratch: Path) -> Path:
    """The folder that workers start in: the one of the task file, with its neighbours.

    There is always one, an empty one for a bundled task: otherwise Ray would let workers of this
    machine import from the folder that the command was typed in.
    """
    if len(files) == 1 and files[0].suffix != ".py":  # a table or a text has nothing to import
        shutil.copy2(files[0], scratch)
        return scratch
    folders = sorted({file.parent for file in files})
    if len(folders) > 1:
        raise StudyError(
            f"task and pruner are in {folders[0]} and {folders[1]}, and one folder is sent to the "
            "Ray cluster: keep them in the same one"
        )
    return folders[0] if folders else scratch
