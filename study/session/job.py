"""What the workers of a session are given."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from batchfront.storage.checkpoint import checkpoint_folder
from batchfront.study.plan.recipe import recipe_in
from batchfront.study.trials.kept import kept_beside
from batchfront.study.workers.launch import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchfront.objectives.objective import Objective
    from batchfront.study.plan.plan import Plan
    from batchfront.study.plan.settings import StudySettings


def job_of(
    settings: StudySettings, plan: Plan, objective: Objective, *, devices: Sequence[str] = ()
) -> Job:
    """A job that ends `timeout` seconds from now; `devices`: where workers train, one each.

    Raises:
        StorageError: the folder of checkpoints cannot be used.
    """
    return Job(
        storage=settings.storage,
        task=settings.task,
        data_dir=Path(settings.data_dir),
        plan=plan,
        compiled=objective.compiled,
        recipe=recipe_in(objective.fingerprint),
        fingerprint=objective.fingerprint,
        deadline=None if plan.timeout is None else time.monotonic() + plan.timeout,
        checkpoints=_checkpoints_of(settings),
        devices=tuple(devices),
        trials_per_gpu=settings.trials_per_gpu,
    )


def _checkpoints_of(settings: StudySettings) -> Path | None:
    """Where the runs of a study are kept after each epoch; None when nowhere."""
    if settings.checkpoint_dir is not None:
        chosen = settings.checkpoint_dir
        return None if chosen == "none" else checkpoint_folder(Path(chosen).resolve())
    beside = kept_beside(settings.storage)
    return None if beside is None else checkpoint_folder(beside)
