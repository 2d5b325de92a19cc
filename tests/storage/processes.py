"""What several processes do to one storage at once; run in fresh interpreters, as workers are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import optuna

from storage import sqlite
from storage.url import open_storage

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

    def disband(self) -> None:
        self._executor.shutdown()


def _join_team(barriers: dict[int, Any]) -> None:
    _barriers.update(barriers)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _at_once(n: int, work: Callable[..., Any], *args: Any) -> Any:
    _barriers[n].wait(60)  # so no process takes two of the jobs
    return work(*args)


def open_and_create(url: str) -> str:
    storage = open_storage(url, mode="worker")
    return optuna.create_study(storage=storage, study_name="ours", load_if_exists=True).study_name


def pop_queued(url: str, n: int) -> list[int]:
    study = optuna.load_study(study_name="queue", storage=open_storage(url, mode="worker"))
    return [study.ask().number for _ in range(n)]


def add_one_often(file: Path, n: int) -> str:
    """Read, add, write: loses additions wherever two processes are between read and write."""
    for _ in range(n):
        with sqlite.folder_lock(file.parent):
            file.write_text(str(int(file.read_text()) + 1))
    return "added"
