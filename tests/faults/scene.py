"""A study after everything is over, and what is known of how that came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from batchfront.objectives.objective import Objective
from batchfront.storage.open import open_storage
from batchfront.study.opening.terms import stored_identity
from batchfront.study.trials.kept import kept_files
from tests.faults.undisturbed import Undisturbed

LOST_RUN, WRONG, TAKEN = "lost", "wrong", "taken"  # sorts of violations


@dataclass(frozen=True)
class Violation:
    """One rule that does not hold."""

    sort: str
    says: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """A trial's end that the storage has acknowledged to its worker, as `Event` tells it."""

    number: int
    verdict: str
    values: tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a process ended that was not killed; its study had `n_finished` trials right then."""

    code: int
    n_finished: int
    n_trials: int  # what it was asked for
    signum: int | None = None  # that it was sent
    said: str = ""  # on standard error
    timed_out: bool = False  # a limit that it was asked for was over


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process that ran trials, and what befell it; moments are of time.time()."""

    pid: int
    died_at: float | None = None  # killed from outside, or ended
    silences: tuple[tuple[float, float], ...] = ()  # from, to: it could show no sign of life
    signum: int | None = None  # that it was sent


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A study after everything is over, and what is known of how that came about."""

    url: str
    trials: Sequence[FrozenTrial]  # all of the study
    undisturbed: Undisturbed
    n_trials: int  # the total that was asked for
    may_overshoot: int = 0  # by workers without a claim lock
    kept: Sequence[Path] = ()  # files that belong to runs of this study
    folder: Path | None = None  # of checkpoints, where no other study keeps any
    told: Sequence[Told] = ()
    exits: Sequence[Exit] = ()
    owners: Sequence[Owner] = ()
    grace_seconds: float = 60.0


def scene_of(
    url: str,
    study_name: str,
    objective: Objective,
    *,
    n_trials: int,
    checkpoints: Path | None = None,
    storage: BaseStorage | None = None,
    **more: object,
) -> Scene:
    """The scene as a reader of the storage finds it; `more`: the other fields of `Scene`.

    `storage`: the one at the URL, where it is open already.
    """
    storage = storage or open_storage(url, mode="reader")
    study = optuna.load_study(study_name=study_name, storage=storage)
    undisturbed = Undisturbed.of(study, objective)
    kept: list[Path] = []
    if checkpoints is not None and checkpoints.is_dir():
        kept = kept_files(study, checkpoints, study_id=stored_identity(study))
    return Scene(
        url=url,
        trials=study.get_trials(deepcopy=False),
        undisturbed=undisturbed,
        n_trials=n_trials,
        kept=kept,
        folder=checkpoints,
        **{"grace_seconds": undisturbed.plan.grace_seconds, **more},  # type: ignore[arg-type]
    )


Said = str | Violation | None  # what is wrong; a text is of the sort WRONG
