"""Tells others of each trial that has ended: files, TensorBoard, and functions of a user's own."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.study.errors import StudyError
from batchfront.study.show import one_line
from batchfront.study.trials.attributes import (
    CURVE,
    REASON,
    VERDICT,
    batch_size_of,
    rate_of,
    suggested_params,
)
from batchfront.study.trials.yardstick import Objectives
from batchfront.study.workers.events import QUEUED_AGAIN, Emit, Event

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

Callback = Callable[["Study", "FrozenTrial"], object]  # as Optuna's `study.optimize` takes them
FOLDER = Path("runs", "logs")
NOT_ENDED = ("interrupted", "taken over", QUEUED_AGAIN)


def loggers(kinds: Sequence[str], study_name: str) -> list[Callback]:
    """What writes the named kinds of logs, into a folder of the study's name under runs/logs.

    Raises:
        StudyError: a package that one needs is missing.
    """
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in study_name)
    makers: dict[str, Callable[[Path], Callback]]
    makers = {"csv": CsvLog, "tensorboard": TensorBoardLog}
    return [makers[kind](FOLDER / safe) for kind in kinds]


def telling(emit: Emit, study: Study, callbacks: Sequence[Callback]) -> Emit:
    """`emit`, and after each trial that has ended the callbacks; what one raises is only said."""
    if not callbacks:
        return emit
    silent: set[int] = set()  # those that have failed

    def tell(event: Event) -> None:
        emit(event)
        if event.kind != "ended" or event.verdict in NOT_ENDED:
            return
        for number, callback in enumerate(callbacks):
            try:
                trial = study.get_trials(deepcopy=False)[event.number]
                callback(study, trial)
            except Exception as error:  # a log is never worth a trial
                if number not in silent:
                    silent.add(number)
                    name = getattr(callback, "__name__", type(callback).__name__)
                    said = one_line(f"{name} failed on trial {event.number}: {error!r}")
                    warnings.warn(f"{said}; the trial is kept", stacklevel=2)

    return tell


def facts_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial was run with."""
    own = {name: trial.params[name] for name in suggested_params([trial])}
    return {
        "batch_size": batch_size_of(trial.params),
        "learning_rate": rate_of(trial),
        **own,
    }


class CsvLog:
    """Appends to trials.csv, a row a trial, and to curves.csv, a row a point of its curve."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Write one trial."""
        names = Objectives.of(study)
        values = dict(zip(names, trial.values or [""] * len(names), strict=True))
        said = {name: trial.user_attrs.get(name, "") for name in (VERDICT, REASON)}
        self._add("trials.csv", [{"number": trial.number, **facts_of(trial), **values, **said}])
        curve = trial.user_attrs.get(CURVE, [])
        self._add(
            "curves.csv",
            [{"number": trial.number, "point": n, names[0]: v} for n, v in enumerate(curve, 1)],
        )

    def _add(self, file: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / file
        is_new = not path.exists()
        if not rows:
            return
        with path.open("a", newline="") as out:
            writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerows(rows)


class TensorBoardLog:
    """Writes each trial as a run of TensorBoard: its curve, and hparams with its values."""

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            raise StudyError(
                "log tensorboard needs a package that is not installed: "
                "pip install 'batchfront[tensorboard]'"
            )
        self._folder = folder

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Write one trial."""
        from torch.utils.tensorboard import SummaryWriter

        names = Objectives.of(study)
        with SummaryWriter(str(self._folder / f"trial-{trial.number:04d}")) as writer:
            for n, value in enumerate(trial.user_attrs.get(CURVE, []), 1):
                writer.add_scalar(names[0], value, n)
            told = dict(zip(names, trial.values or [], strict=False))
            facts = {**facts_of(trial), VERDICT: str(trial.user_attrs.get(VERDICT))}
            writer.add_hparams(facts, {f"told/{n}": v for n, v in told.items()}, run_name=".")
