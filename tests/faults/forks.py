"""Processes that are forked, and the one that prepares, finishes and judges a lane's faults."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from batchfront.objectives.objective import Objective
from batchfront.study.workers import launch
from batchfront.study.workers.pulse import Pulse
from tests.faults.catalog import by_name
from tests.faults.place import Place, Victim
from tests.faults.scenarios import Keeper, Scenario
from tests.faults.scene import Exit, Violation

LIMIT_SECONDS = 600.0  # for what a victim or a keeper does at a time
_exit = os._exit


def fork(work: Callable[[], Any]) -> int:
    """The id of a process that does the work, and returns an exit code or None."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = int(work() or 0)
    except BaseException:  # a fork must never return into its parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        _exit(code)


class Hung(Exception):
    """Somebody did not answer in time."""


class KeeperProcess:
    """The keeper, as the lane calls it."""

    def __init__(self, objective: Objective, folder: Path) -> None:
        self._ours, theirs = Pipe()
        self.pid = fork(lambda: self._serve(theirs, Keeper(objective=objective), folder))
        theirs.close()

    def call(self, what: str, scenario: Scenario, *args: Any) -> Any:
        """Have the keeper do something, and return what it returns.

        Raises:
            Hung: it does not come back.
            RuntimeError: it failed; with its traceback.
        """
        self._ours.send((what, scenario.name, args))
        if not self._ours.poll(LIMIT_SECONDS):
            raise Hung(f"the second worker did not end to {what}")
        done, answer = self._ours.recv()
        if not done:
            raise RuntimeError(answer)
        return answer

    def _serve(self, pipe: Connection, keeper: Keeper, folder: Path) -> None:
        self._ours.close()
        redirect(folder / "keeper")
        while True:
            try:
                what, name, args = pipe.recv()
            except EOFError:
                return
            try:
                pipe.send((True, getattr(_Acts, what)(keeper, by_name()[name], *args)))
            except Exception:
                pipe.send((False, traceback.format_exc()))


class _Acts:
    """What a keeper is called for."""

    @staticmethod
    def prepare(keeper: Keeper, scenario: Scenario, place: Place) -> None:
        keeper.owners.clear()
        keeper.exits.clear()
        launch.Pulse = Pulse  # type: ignore[misc]
        scenario.prepare(keeper, place)

    @staticmethod
    def meet(keeper: Keeper, scenario: Scenario, place: Place) -> None:
        scenario.meet(keeper, place)

    @staticmethod
    def finish(
        keeper: Keeper, scenario: Scenario, place: Place, victims: list[Victim]
    ) -> list[Violation]:
        said = place.folder / "said by the second"
        with said.open("w") as file:
            before, sys.stderr = sys.stderr, file
            try:
                code = scenario.finish(keeper, place)
            except Exception:  # as of a command that nobody has looked after
                traceback.print_exc()
                code = 1
            finally:
                sys.stderr = before
        keeper.exits.append(
            Exit(
                code=code,
                n_finished=scenario.n_finished(keeper, place),
                n_trials=scenario.n_trials,
                said=said.read_text(),
            )
        )
        found = scenario.judge(keeper, place, victims)
        scenario.clean(keeper, place)
        return found


def redirect(path: Path) -> None:
    """What the process says goes into a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
