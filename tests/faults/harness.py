"""Faults on one kind of storage: lanes side by side, fed from here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from batchfront.objectives.objective import Objective
from tests.faults.forks import fork
from tests.faults.lane import Lane, Result, Task
from tests.faults.points import all_points
from tests.faults.preload import warm
from tests.faults.scenarios import Scenario
from tests.servers import database

MEMORY = Path("/dev/shm")


class Lanes:
    """Lanes of one kind of storage."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def done(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """The results of tasks, as they come."""
        left, busy = iter(tasks), set()
        for pipe in self._pipes:
            if (task := next(left, None)) is not None:
                pipe.send(task)
                busy.add(pipe)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                yield pipe.recv()
                if (task := next(left, None)) is None:
                    busy.discard(pipe)
                else:
                    pipe.send(task)

    def counted(self, scenario: Scenario) -> Result:
        """A life to its end, and its points."""
        (result,) = self.done([Task(scenario=scenario.name)])
        return result

    def faults(self, scenario: Scenario, *, every: int = 1, first: int = 0) -> Iterator[Result]:
        """A life to its end, then faults at every so many of its points."""
        counted = self.counted(scenario)
        yield counted
        points = all_points(counted.labels)[first::every]
        yield from self.done(Task(scenario=scenario.name, point=point) for point in points)


@contextmanager
def lanes(
    kind: str, objective: Objective, *, n: int, plant: Callable[[], None] | None = None
) -> Iterator[Lanes]:
    """So many lanes; `plant` is called in each, and changes the product for all of its processes.

    Their folder is removed at the end.
    """
    with ExitStack() as stack:
        where = MEMORY if os.access(MEMORY, os.W_OK) else None
        folder = Path(tempfile.mkdtemp(prefix="faults-", dir=where))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        pipes, pids = [], []
        for number in range(n):
            own = folder / str(number)
            own.mkdir()
            url = f"sqlite:///{own}/study.db"
            if kind in ("postgresql", "mysql"):
                url = stack.enter_context(database(kind))
            ours, theirs = Pipe()
            work = partial(_lane, kind, url, own, objective, theirs, [*pipes, ours], plant)
            pids.append(fork(work))
            theirs.close()
            pipes.append(ours)
        try:
            yield Lanes(pipes)
        finally:
            for pipe in pipes:
                pipe.close()
            for pid in pids:
                os.waitpid(pid, 0)


def _lane(
    kind: str,
    url: str,
    folder: Path,
    objective: Objective,
    pipe: Connection,
    others: list[Connection],
    plant: Callable[[], None] | None,
) -> None:
    for other in others:  # else nobody would ever see its end
        other.close()
    if plant is not None:
        plant()
    if kind in ("postgresql", "mysql"):
        warm(kind, url, folder, objective)
    if kind == "grpc":
        with served(url) as found:
            Lane(kind, found, folder, objective).serve(pipe)
        return
    Lane(kind, url, folder, objective).serve(pipe)


@contextmanager
def served(url: str) -> Iterator[str]:
    """The address of a server over a storage, which is a fork."""
    ours, theirs = Pipe()

    def serve() -> None:
        from batchfront.storage.open import open_storage
        from batchfront.storage.proxy_server import serving

        ours.close()
        with serving(open_storage(url, mode="worker"), host="127.0.0.1", port=0) as port:
            theirs.send(port)
            theirs.poll(None)  # until the lane ends

    pid = fork(serve)
    theirs.close()
    try:
        yield f"grpc://127.0.0.1:{ours.recv()}"
    finally:
        ours.close()
        os.kill(pid, 9)
        os.waitpid(pid, 0)
