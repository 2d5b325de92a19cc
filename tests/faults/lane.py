"""A lane runs one fault after another on a storage of its own.

It opens no storage itself: every process that it forks starts as if it were fresh. Its keeper
prepares each study, finishes it after the fault and judges it; its victims live for one fault.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from batchfront.objectives.objective import Objective
from tests.faults.catalog import by_name
from tests.faults.forks import LIMIT_SECONDS, Hung, KeeperProcess, fork, redirect
from tests.faults.place import Place, Victim, now
from tests.faults.points import AFTER, ANY, ASTRAY, BEFORE, DIED, Point, Points, install
from tests.faults.scenarios import Scenario
from tests.faults.scene import Violation

REPEATS = 5
FILES = ("sqlite", "journal")  # storages that are a file, of which every fault has its own
ASTRAY_SAYS = "went another way than to"
HARNESS = "harness"  # sort of a violation: the fault did not happen as it was to


@dataclass(frozen=True, kw_only=True)
class Task:
    """A fault to be done; no point: a life to its end, whose points are counted."""

    scenario: str
    point: Point | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of it."""

    task: Task
    violations: list[Violation]
    labels: list[str]  # of the points, where they were counted
    seconds: float
    n_faults: int = 0  # processes that have ended at their points


class Lane:
    """Does the faults that come through a pipe, until it is closed."""

    def __init__(self, kind: str, url: str, folder: Path, objective: Objective) -> None:
        self._kind = kind
        self._url = url
        self._folder = folder
        self._objective = objective
        self._keeper = KeeperProcess(objective, folder)
        self._n = self._n_died = 0

    def serve(self, pipe: Connection) -> None:
        """Answer each task with its result."""
        while True:
            try:
                task: Task = pipe.recv()
            except EOFError:
                return
            pipe.send(self.do(task))

    def do(self, task: Task) -> Result:
        """One fault, judged; again where its process had gone another way, which is rare."""
        for _ in range(REPEATS):
            result = self._once(task)
            if not any(ASTRAY_SAYS in violation.says for violation in result.violations):
                break
        return result

    def _once(self, task: Task) -> Result:
        begun = time.monotonic()
        self._n += 1
        folder = self._folder / str(self._n)
        folder.mkdir()
        scenario = by_name()[task.scenario]
        url = self._url
        name = f"{scenario.name} {self._n}"
        if self._kind in FILES:
            url, name = f"{self._kind}:///{folder}/study.{self._kind}", scenario.name
        place = Place(kind=self._kind, url=url, name=name, folder=folder, options=scenario.options)
        found: list[Violation] = []
        self._n_died = 0
        try:
            found = self._fault(scenario, place, task.point)
        except (Hung, RuntimeError) as error:
            found = [Violation(HARNESS, str(error))]
            self._replace_keeper()
        labels = folder / "labels"
        result = Result(
            task=task,
            violations=found,
            labels=json.loads(labels.read_text()) if labels.exists() else [],
            seconds=time.monotonic() - begun,
            n_faults=self._n_died,
        )
        if not found:
            shutil.rmtree(folder)
        return result

    def _fault(self, scenario: Scenario, place: Place, point: Point | None) -> list[Violation]:
        self._keeper.call("prepare", scenario, place)
        victims = []
        if scenario.before:
            earlier = Scenario(
                name="", says="", befalls=scenario.before, n_trials=scenario.n_trials
            )
            victims.append(self._victim(earlier, scenario, place, None))
        for number in range(1, scenario.n_deaths) if point is not None else ():
            at = _earlier(point, number)
            victims.append(self._victim(scenario, scenario, place, at))
        victims.append(self._victim(scenario, scenario, place, _own(point, scenario)))
        found: list[Violation] = self._keeper.call("finish", scenario, place, victims)
        last = victims[-1]
        expected = scenario.exit_code if point is None else None
        self._n_died = sum(victim.has_died for victim in victims[scenario.before != "" :])
        if scenario.n_deaths > 1:
            return found
        if point is not None and not last.has_died:
            text = f"exit code {last.code}, did not come to {point}: {last.said}"
            if last.code == ASTRAY:
                text = f"{ASTRAY_SAYS} {point}"
            found.append(Violation(HARNESS, text))
        elif expected is not None and last.code != expected:
            text = f"exit code {last.code}, wanted {expected}: {last.said}"
            found.append(Violation(HARNESS, text))
        return found

    def _victim(
        self, life: Scenario, scenario: Scenario, place: Place, point: Point | None
    ) -> Victim:
        ours, theirs = Pipe()
        pid = fork(lambda: self._live(life, place, point, theirs))
        theirs.close()
        code = self._awaited(pid, ours, scenario, place)
        said = place.folder / f"said {pid}"
        return Victim(
            pid=pid,
            code=DIED if life is not scenario and code == 9 else code,
            died_at=now(),
            said=said.read_text() if said.exists() else "",
            signum=life.signum,
        )

    def _live(self, life: Scenario, place: Place, point: Point | None, pipe: Connection) -> int:
        redirect(place.folder / f"said {os.getpid()}")
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # deaf to it, where nohup started us
        points = Points(point)

        def meet() -> None:
            with points.off():
                pipe.send("meet")
                pipe.recv()

        self._objective.function.__globals__["MEETING"].append(meet)  # type: ignore[attr-defined]
        install(points)
        code = life.live(place, self._objective, points)
        with points.off():
            (place.folder / "labels").write_text(json.dumps(points.labels))
        return code

    def _awaited(self, pid: int, pipe: Connection, scenario: Scenario, place: Place) -> int:
        """The exit code of a victim; meanwhile it may ask for a meeting."""
        process, give_up_at = os.pidfd_open(pid), time.monotonic() + LIMIT_SECONDS
        try:
            while process not in (ready := wait([process, pipe], timeout=LIMIT_SECONDS)):
                if not ready or time.monotonic() > give_up_at:
                    os.kill(pid, 9)
                    os.waitpid(pid, 0)
                    raise Hung("the process did not end")
                with suppress(EOFError, OSError):
                    pipe.recv()
                    self._keeper.call("meet", scenario, place)
                    pipe.send(None)
                    continue
                wait([process], timeout=LIMIT_SECONDS)
        finally:
            os.close(process)
            pipe.close()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _replace_keeper(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._keeper.pid, 9)
        os.waitpid(self._keeper.pid, 0)
        self._keeper = KeeperProcess(self._objective, self._folder)


def _earlier(point: Point, number: int) -> Point:
    """The point where an earlier process of several ends, drawn by the number of the last one."""
    where = random.Random(f"{point.number} {point.when} {number}")
    return Point(number=where.randint(20, 150), label=ANY, when=where.choice((BEFORE, AFTER)))


def _own(point: Point | None, scenario: Scenario) -> Point | None:
    """The point where the last one ends; after others it has another life than the one counted."""
    return point and (point if scenario.n_deaths == 1 else replace(point, label=ANY))
