"""Bugs that a storm must find: each is planted in every process of it, by its name.

`python -m tests.chaos --bug NAME` shows which oracle sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchfront.objectives import run
from batchfront.storage.checkpoint import Checkpoint
from batchfront.storage.fence import Fence
from batchfront.storage.watch import FileWatch
from batchfront.study.session.session import Session
from batchfront.study.workers import ledger, next_trial
from batchfront.study.workers.kept import Kept
from batchfront.study.workers.next_trial import NextTrial
from batchfront.study.workers.silence import Silence


def _other_random_numbers() -> None:
    """A run goes on with weights and optimizer alone."""
    run.restore_random_states = _nothing


def _any_study() -> None:
    """Whoever works at a deleted study goes on in the next one of its name."""
    Fence.check_study = Fence.check_owner = _nothing


def _leaves_early() -> None:
    """A worker does not wait for others' last trials, and a run that ends short says nothing."""
    NextTrial._awaited = lambda self: 0
    Session._exit_code = lambda self, asked: self._interrupts.exit_code


def _never_queued_again() -> None:
    """Nobody mends what somebody left between failing a trial and queueing it again."""
    next_trial.mend_queue = ledger.mend_queue = lambda *_: False


def _any_file() -> None:
    """A database that was replaced goes unnoticed."""
    FileWatch.check = _nothing


def _impatient() -> None:
    """Whoever is silent for a fraction of the grace period loses its trial."""
    Silence._allowed = lambda self, trial, heartbeats: self._grace_seconds / 8


def _untidy() -> None:
    """Checkpoints of runs that were taken up stay when these end."""
    load, remove = Checkpoint.load, Checkpoint.remove
    taken_up = set()

    def noting(checkpoint: Checkpoint) -> Any:
        found = load(checkpoint)
        if found is not None:
            taken_up.add(checkpoint.path)
        return found

    def unless_taken_up(checkpoint: Checkpoint) -> None:
        if checkpoint.path not in taken_up:
            remove(checkpoint)

    Checkpoint.load, Checkpoint.remove = noting, unless_taken_up
    Kept.tidy = _nothing


def _nothing(*_: Any, **__: Any) -> None:
    pass


BUGS: dict[str, tuple[Callable[[], None], dict[str, int]]] = {  # how it is planted; who strikes
    "other random numbers": (_other_random_numbers, {"kill -9 of a worker": 3}),
    "any study": (_any_study, {"study made anew": 2, "SIGTERM": 1}),
    "leaves early": (_leaves_early, {"the last one paused": 1}),
    "never queued again": (_never_queued_again, {"kill -9 of a worker": 3}),
    "any file": (_any_file, {"file replaced": 3}),
    "impatient": (_impatient, {"paused briefly": 3}),
    "untidy": (_untidy, {"kill -9 of a worker": 3}),
}


def plant(name: str) -> None:
    """Plant it in this process."""
    BUGS[name][0]()
