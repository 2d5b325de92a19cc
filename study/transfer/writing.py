"""Writes a whole study of finished trials; whoever is cut off completes it next time.

The record that makes a study ours is written last: a study without one is unfinished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batchfront.study.errors import StudyError
from batchfront.study.trials.attributes import BEGUN

if TYPE_CHECKING:
    from optuna import Study
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

    from batchfront.storage.shared import SharedStorage

SHOW_AFTER_SECONDS = 2.0
AT_A_TIME = 1000  # trials a transaction: others write in between, and progress shows


def new_or_found(storage: SharedStorage, name: str, directions: Sequence[StudyDirection]) -> Study:
    """The study of that name, created unless it is there."""
    import optuna

    with storage.claim_lock(name):
        if name not in optuna.get_all_study_names(storage):
            study = optuna.create_study(storage=storage, study_name=name, directions=directions)
            storage.set_study_system_attr(study._study_id, BEGUN, True)
            return study
    return optuna.load_study(study_name=name, storage=storage)


def is_start(there: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> bool:
    """Whether `there` are the first of `trials`."""
    same = all(content(a) == content(b) for a, b in zip(there, trials, strict=False))
    return len(there) <= len(trials) and same


def content(trial: FrozenTrial) -> str:
    """All but ids and times: MySQL keeps whole seconds. As text, since NaN equals nothing."""
    from optuna.distributions import distribution_to_json

    distributions = {k: distribution_to_json(d) for k, d in trial.distributions.items()}
    parts = (
        trial.number, trial.state.name, trial.values, trial.params, distributions,
        trial.user_attrs, trial.system_attrs, trial.intermediate_values,
    )  # fmt: skip
    return json.dumps(parts, sort_keys=True)


def add_missing(
    storage: SharedStorage, study: Study, trials: Sequence[FrozenTrial], *, doing: str
) -> None:
    """Add those of `trials` that an earlier attempt did not; `doing` says what, on a terminal."""
    n_before = len(study.get_trials(deepcopy=False))
    for some in _shown(trials[n_before:], doing):
        storage.add_trials(study._study_id, some)


def check_whole(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """What is there, once all was added.

    Raises:
        StudyError: it is not `trials`.
    """
    there = study.get_trials(deepcopy=False)
    if len(there) != len(trials) or not is_start(there, trials):
        raise StudyError(
            f"what was written of {study.study_name!r} is not equal to its source: does another "
            "process write to it? end that one and choose another storage"
        )
    return there


def _shown(trials: Sequence[FrozenTrial], doing: str) -> Iterator[Sequence[FrozenTrial]]:
    """Portions of the trials, with a progress bar on a terminal once it takes long."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    show_at = time.monotonic() + SHOW_AFTER_SECONDS
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task(doing, total=len(trials))
    try:
        for first in range(0, len(trials), AT_A_TIME):
            some = trials[first : first + AT_A_TIME]
            yield some
            progress.advance(task, len(some))
            if time.monotonic() > show_at:
                progress.start()  # again is nothing new
    finally:
        progress.stop()
