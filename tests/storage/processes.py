"""What several processes do to one storage at once; run in fresh interpreters, as workers are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

from batchfront.storage.locks import file_lock
from batchfront.storage.open import open_storage
from batchfront.storage.shared import SharedStorage

MEMBERS = 6
_barriers: dict[int, Any] = {}  # in each process of a team: for so many of them


class Team:
    """Six processes that do one thing at the same moment; kept, as they take long to start."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        barriers = {n: spawn.Barrier(n) for n in range(2, MEMBERS + 1)}
        self._executor = ProcessPoolExecutor(
            MEMBERS, mp_context=spawn, initializer=_join_team, initargs=(barriers,)
        )

    def together(self, n: int, work: Callable[..., Any], *args: Any) -> list[Any]:
        """What `work(*args)` returns in each of `n` processes."""
        jobs = [self._executor.submit(_at_once, n, work, *args) for _ in range(n)]
        return [job.result(120) for job in jobs]

    def one(self, work: Callable[..., Any], *args: Any) -> Any:
        """What `work(*args)` returns in one of the processes."""
        return self._executor.submit(work, *args).result(120)

    def disband(self) -> None:
        self._executor.shutdown()


def _join_team(barriers: dict[int, Any]) -> None:
    _barriers.update(barriers)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _at_once(n: int, work: Callable[..., Any], *args: Any) -> Any:
    _barriers[n].wait(60)  # so no process takes two of the jobs
    return work(*args)


@contextmanager
def opened(url: str) -> Iterator[SharedStorage]:
    """A storage for a worker, closed at the end: the processes live on."""
    storage = open_storage(url, mode="worker")
    try:
        yield storage
    finally:
        storage.remove_session()
        if isinstance(storage, optuna.storages.RDBStorage):
            storage.engine.dispose()


def open_and_create(url: str, name: str = "ours") -> str:
    with opened(url) as storage:
        study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
        return study.study_name


def ask_often(url: str, name: str, n: int) -> list[int]:
    with opened(url) as storage:
        study = optuna.load_study(study_name=name, storage=storage)
        return [study.ask().number for _ in range(n)]


def write_all(url: str, name: str, attributes: dict[str, Any]) -> None:
    """A study with one finished trial that has something of everything."""
    with opened(url) as storage:
        study = optuna.create_study(
            storage=storage, study_name=name, directions=["maximize", "minimize"]
        )
        study.set_user_attr("für alle", attributes)
        trial = study.ask()
        trial.suggest_int("log2_batch_size", 0, 9)
        trial.suggest_float("learning_rate", 1e-4, 3, log=True)
        trial.suggest_categorical("activation", ("relu", "tänh", None, True, 0.5))
        storage.set_trial_attrs(trial._trial_id, attributes)
        storage.set_trial_system_attr(trial._trial_id, "noted", attributes["nested"])
        study.tell(trial, [0.1 + 0.2, 1e-300])


def content(url: str, name: str) -> dict[str, Any]:
    """What a process that has not written it reads."""
    with opened(url) as storage:
        study = optuna.load_study(study_name=name, storage=storage)
        (trial,) = study.trials
        return {
            "study": study.user_attrs,
            "directions": [direction.name for direction in study.directions],
            "user": trial.user_attrs,
            "system": trial.system_attrs,
            "values": trial.values,
            "params": trial.params,
            "distributions": trial.distributions,
            "state": trial.state.name,
            "times": (trial.datetime_start, trial.datetime_complete),
        }


def add_one_often(file: Path, n: int) -> str:
    """Read, add, write: loses additions wherever two processes are between read and write."""
    for _ in range(n):
        with file_lock(file.parent):
            file.write_text(str(int(file.read_text()) + 1))
    return "added"
