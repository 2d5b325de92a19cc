"""The files in which the runs of a study are kept, found again by what its trials say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.storage.checkpoint import Checkpoint
from batchfront.storage.names import folder_of
from batchfront.study.trials.attributes import HARDWARE, ROOT

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial


HOW = ("epochs", "seed", HARDWARE, "compiled")  # attributes that name a run's checkpoint


def identity_of(
    trial: Trial | FrozenTrial, *, study_name: str, study_id: str, how: Mapping[str, Any]
) -> dict[str, Any]:
    """What names the checkpoint that a trial shares with those that take its run up.

    `how` it runs: HOW, as the trial has them among its attributes.
    """
    return {
        "study": study_name,
        "study_id": study_id,
        "trial": root_of(trial),
        "params": trial.params,
        "epochs": how.get("epochs"),  # None: another length, that of all its trials
        "seed": how["seed"],
        HARDWARE: how[HARDWARE],
        "compiled": bool(how.get("compiled")),
    }


def root_of(trial: Trial | FrozenTrial) -> int:
    """Number of the trial whose run this one goes on with, or its own."""
    return int(trial.user_attrs.get(ROOT, trial.number))


def kept_beside(url: str) -> Path | None:
    """Where the runs of a storage are kept unless it is said; None for a server's.

    Such a storage has no place that all workers see.
    """
    folder = folder_of(url)
    return None if folder is None else folder / "checkpoints"


def kept_files(study: Study, folder: Path, *, study_id: str) -> list[Path]:
    """The files in the folder that belong to runs of the study, of whatever hardware."""
    there: dict[str, list[Path]] = {}
    for path in folder.glob("*.*"):
        there.setdefault(path.name.split(".")[0], []).append(path)
    names = {
        Checkpoint(
            folder,
            identity_of(
                trial, study_name=study.study_name, study_id=study_id, how=trial.user_attrs
            ),
        ).path.stem
        for trial in (study.get_trials(deepcopy=False) if there else ())
        if {"seed", HARDWARE} <= set(trial.user_attrs)  # else it never began
        and isinstance(trial.user_attrs.get(ROOT, 0), int)
    }
    return [path for name in sorted(names & set(there)) for path in there[name]]


def bytes_of(files: list[Path]) -> int:
    """How much the files take, as far as they are still there."""
    total = 0
    for path in files:
        try:
            total += path.lstat().st_size
        except FileNotFoundError:  # its run has just ended
            continue
    return total
