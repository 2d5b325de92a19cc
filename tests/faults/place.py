"""Where one fault happens: a study of its own, worked at as `batchfront run` works at it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.objective import Objective
from batchfront.storage.errors import StorageError
from batchfront.storage.open import open_storage, readable_errors
from batchfront.storage.shared import SharedStorage
from batchfront.study.answer.confirm import Confirming
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.opening.create import create_or_resume
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.plan.space import SearchSpace
from batchfront.study.probes.prober import Watch
from batchfront.study.quiet import quiet_optuna
from batchfront.study.workers import launch
from batchfront.study.workers.events import Event
from batchfront.study.workers.launch import Job, run_here
from batchfront.study.workers.pulse import Pulse
from tests.faults.points import DIED
from tests.faults.scene import Told

PLAYBACK = Path(__file__).with_name("playback.py")
TASK = f"{PLAYBACK}:objective"
QUICK_GRACE = 2.0  # seconds, instead of a study's own, where somebody is to be missed
USER_ERRORS = (StudyError, StorageError, ObjectiveError)


@dataclass(frozen=True, kw_only=True)
class Place:
    """One study, on one storage, with a folder for all that belongs to this fault."""

    kind: str  # of storage
    url: str
    name: str  # of the study
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)  # of StudySettings

    @property
    def is_own(self) -> bool:
        """Whether no other study is in its storage."""
        return str(self.folder) in self.url

    @property
    def kept(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "kept"

    @property
    def diary(self) -> Path:
        """What the storage has acknowledged to the process that dies."""
        return self.folder / "diary"

    def settings(self, n_trials: int) -> StudySettings:
        """What a person types."""
        typed = {
            "task": TASK,
            "study_name": self.name,
            "storage": self.url,
            "n_trials": n_trials,
            "sampler": "random",
            "batch_sizes": (2, 4),
            "epochs": 3,
            "device": "cpu",
            "checkpoint_dir": str(self.kept),
        }
        return StudySettings(**{**typed, **self.options})

    def told(self) -> list[Told]:
        """What stands in the diary."""
        if not self.diary.exists():
            return []
        lines = [json.loads(line) for line in self.diary.read_text().splitlines()]
        return [
            Told(
                number=line["number"],
                verdict=line["verdict"],
                values=None if line["values"] is None else tuple(line["values"]),
            )
            for line in lines
        ]


@dataclass(frozen=True, kw_only=True)
class Victim:
    """The process that a fault was to befall."""

    pid: int
    code: int
    died_at: float
    said: str = ""
    signum: int | None = None

    @property
    def has_died(self) -> bool:
        """Whether it ended at its point, and not by itself."""
        return self.code == DIED


class Storages:
    """Storages that this process has open; opening one is most of what a short life costs."""

    def __init__(self) -> None:
        self._open: dict[str, SharedStorage] = {}

    def __call__(self, url: str, *, mode: str = "worker") -> SharedStorage:
        if url not in self._open:
            self._open[url] = open_storage(url, mode="worker")
        return self._open[url]

    def close(self, url: str) -> None:
        """Let go of one, if it is open."""
        storage = self._open.pop(url, None)
        if isinstance(storage, optuna.storages.RDBStorage):
            storage.remove_session()
            storage.engine.dispose()


class StillPulse(Pulse):
    """Beats when a trial is claimed and, for a point at each, after every epoch; never beside."""

    lease_seconds = QUICK_GRACE  # type: ignore[assignment]

    def __enter__(self) -> Pulse:
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()

    def beat(self, late: bool) -> None:
        """Beat as the thread does."""
        for beats in self._held.values():
            if late and beats.last_at is not None:
                beats.last_at -= 100.0
        self._show(missed=False)


def quick_pulse(**options: Any) -> Pulse:
    """One that misses others soon."""
    return Pulse(**{**options, "grace_seconds": QUICK_GRACE})


@contextmanager
def told_in_one_line() -> Iterator[list[int]]:
    """What a user can mend is one line and exit code 2, as the command line makes it."""
    code = [0]
    try:
        yield code
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        code[0] = 2


def opened(
    place: Place, objective: Objective, storages: Storages, *, n_trials: int
) -> tuple[optuna.Study, Plan]:
    """The study, made where it is missing, and what is to be done with it."""
    storage, settings = storages(place.url), place.settings(n_trials)
    with quiet_optuna():
        study, plan, _ = create_or_resume(storage, settings, objective, device="cpu", watch=Watch())
    return study, plan


def work(
    place: Place,
    objective: Objective,
    storages: Storages,
    *,
    n_trials: int,
    n_asked: int = 0,
    emit: Callable[[Event], None] | None = None,
    interrupts: Interrupts | None = None,
) -> int:
    """Be a worker until the total is reached; returns the exit code.

    `n_asked`: or until so many runs of one setting have ended, which a question asks for.
    """
    interrupts = interrupts or Interrupts()
    launch.open_storage = storages  # type: ignore[assignment]
    settings = place.settings(n_trials)
    with (
        told_in_one_line() as code,
        interrupts.installed(),
        quiet_optuna(),
        readable_errors(place.url),
    ):
        _, plan = opened(place, objective, storages, n_trials=n_trials)
        place.kept.mkdir(exist_ok=True)
        job = Job(
            storage=place.url,
            task=settings.task,
            plan=plan,
            compiled=False,
            fingerprint=objective.fingerprint,
            deadline=None,
            checkpoints=place.kept,
            agenda=_asking(n_asked) if n_asked else None,
        )
        run_here(job, objective, interrupts, emit or (lambda event: None))
    return code[0] or interrupts.exit_code


def _asking(n_runs: int) -> Confirming:
    space = SearchSpace()
    return Confirming(batch_size=4, learning_rate=0.1, params={}, space=space, n_runs=n_runs)


def diary_of(place: Place) -> Callable[[Event], None]:
    """Writes down what the storage has acknowledged, in one piece, past all points."""
    write = os.write  # as it is now
    descriptor = os.open(place.diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(event: Event) -> None:
        if event.kind == "ended":
            line = {"number": event.number, "verdict": event.verdict, "values": event.values}
            write(descriptor, json.dumps(line).encode() + b"\n")

    return note


def one_trial(place: Place, objective: Objective, storages: Storages) -> None:
    """Work until one trial has ended, or others have to be waited for."""
    interrupts = Interrupts()

    def leave(event: Event) -> None:
        if event.kind in ("ended", "waiting"):
            interrupts.request(signal.SIGTERM)

    work(place, objective, storages, n_trials=99, emit=leave, interrupts=interrupts)


def remove_study(place: Place, storages: Storages) -> None:
    """So that a storage that many faults share stays small."""
    storage = storages(place.url)
    storage.fence = None
    with suppress(KeyError):
        optuna.delete_study(study_name=place.name, storage=storage)


def now() -> float:
    """The time that trials are stamped with."""
    return time.time()


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Inside, these variables are set."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
