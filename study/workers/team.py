"""Several local worker processes, started again when they crash."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, cast

from batchfront.objectives.device.hardware import hand_memory_over
from batchfront.objectives.measurement import ObjectiveError
from batchfront.storage.errors import StorageError
from batchfront.storage.open import readable_errors
from batchfront.study.errors import StudyError
from batchfront.study.machine.alone import measuring_alone
from batchfront.study.machine.interrupts import EXIT_SECONDS, Interrupts
from batchfront.study.quiet import quiet_optuna
from batchfront.study.workers.events import Emit, Event
from batchfront.study.workers.launch import Job, load_here, run_here
from batchfront.study.workers.telling import DeviceLost, RepeatedFailure

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective

SAME_CRASHES = 5  # of one worker with no trial ended in between; above what a trial is retried
LONGEST_PAUSE_SECONDS = 8.0  # before a crashed worker is started again
READY = "ready"  # a worker's first word: from now on it heeds signals
DEVICE_LOST = 70  # EX_SOFTWARE of sysexits.h: the exit code of a worker that another replaces
ENDED = (0, 128 + signal.SIGINT, 128 + signal.SIGTERM)  # exit codes of a worker that is done


class WorkerDied(Exception):
    """A worker process crashed again and again: killed, or out of memory."""


@dataclass
class Place:
    """One of the workers, whichever process it is now."""

    number: int
    crashes: int = 0  # in a row
    process: BaseProcess | None = None
    pipe: Connection | None = None
    is_ready: bool = False
    n_passed_on: int = 0  # signals, to the process
    start_at: float = field(default_factory=time.monotonic)  # when there is no process


class Team:
    """Runs worker processes until all have ended; signals to us are passed on to them."""

    def __init__(self, job: Job, n_workers: int, interrupts: Interrupts, emit: Emit) -> None:
        self._job = job
        self._devices = job.devices or (job.plan.device,)
        self._interrupts = interrupts
        self._emit = emit
        self._places = [Place(number) for number in range(n_workers)]
        self._said: list[Exception] = []  # what workers gave up with
        self._lost: list[str] = []  # workers that crash whenever they start
        self._kill_at: float | None = None

    def run(self) -> None:
        """Returns when all are done.

        Raises:
            RepeatedFailure: a worker gave up.
            WorkerDied: one crashed again and again.
            StudyError: what a worker could not go on with.
        """
        try:
            while self._places and not self._late():
                self._pass_signals_on()
                self._start_missing()
                self._listen()
        finally:
            for place in self._places:
                if place.process is not None:
                    place.process.kill()
                    place.process.join()
        if self._said:
            raise self._said[0]
        if self._lost and self._interrupts.signum is None:
            raise WorkerDied("; ".join(self._lost))

    def _late(self) -> bool:
        return self._kill_at is not None and time.monotonic() > self._kill_at

    def _pass_signals_on(self) -> None:
        """Each of ours once, and none before a worker heeds it; who does not obey is killed."""
        n_seen, signum = self._interrupts.n_seen, self._interrupts.signum or signal.SIGTERM
        for place in [p for p in self._places if p.is_ready and p.n_passed_on < n_seen]:
            place.n_passed_on += 1
            if place.process is not None and place.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(place.process.pid, signum)
        if n_seen > 1 or (n_seen and signum == signal.SIGTERM):
            self._kill_at = self._kill_at or time.monotonic() + EXIT_SECONDS + 1

    def _start_missing(self) -> None:
        for place in [p for p in self._places if p.process is None]:
            if self._interrupts.signum is not None:
                self._places.remove(place)
            elif time.monotonic() >= place.start_at:
                self._start(place)

    def _start(self, place: Place) -> None:
        context = multiprocessing.get_context("spawn")
        place.pipe, theirs = context.Pipe(duplex=False)
        place.is_ready, place.n_passed_on = False, 0
        device = self._devices[place.number % len(self._devices)]
        job = replace(self._job, plan=replace(self._job.plan, device=device))
        place.process = context.Process(
            target=_process, args=(job, theirs), name=f"worker-{place.number}"
        )
        with no_interrupt():
            place.process.start()
        theirs.close()

    def _listen(self) -> None:
        """Pass on what workers say, for a moment."""
        by_pipe = {place.pipe: place for place in self._places if place.pipe is not None}
        if not by_pipe:
            time.sleep(0.05)  # all of them wait to be started again
        for pipe in cast(list[Connection], wait(list(by_pipe), timeout=0.2)):
            place = by_pipe[pipe]
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                self._closed(place)
                continue
            if message == READY:
                place.is_ready = True
            elif isinstance(message, Event):
                if message.kind == "ended" and message.verdict != "failed":
                    place.crashes = 0
                self._emit(replace(message, worker=place.number))
            else:
                self._said.append(message)

    def _closed(self, place: Place) -> None:
        """A worker's pipe ended, and so does the worker."""
        process, place.process, place.pipe = place.process, None, None
        code = None
        if process is not None:
            process.join(timeout=EXIT_SECONDS)
            process.kill()
            process.join()
            code = process.exitcode
        if code in ENDED or self._interrupts.signum is not None:
            self._places.remove(place)
            return
        place.crashes += 1
        pause = min(0.2 * 2**place.crashes, LONGEST_PAUSE_SECONDS)
        place.start_at = time.monotonic() + pause
        if place.crashes >= SAME_CRASHES:
            self._places.remove(place)
            self._lost.append(
                f"worker {place.number} died {place.crashes} times in a row, the last time "
                f"{how_it_ended(code)}; run the same command again to complete the study"
            )


def run_workers(
    job: Job, objective: Objective, n_workers: int, interrupts: Interrupts, emit: Emit
) -> None:
    """One worker in this process, or several in their own.

    Raises:
        RepeatedFailure: trials in a row failed the same way.
        WorkerDied: a worker process crashed again and again.
    """
    if n_workers > 1:
        leave_device(objective)
        Team(job, n_workers, interrupts, emit).run()
        return
    try:
        with measuring_alone(objective, job.plan.device, takes_turn=False):
            run_here(job, objective, interrupts, emit)
    except DeviceLost:  # to this process, not to a new one
        Team(job, 1, interrupts, emit).run()


def leave_device(objective: Objective) -> None:
    """Make room for the workers: whoever launches them trains nothing meanwhile."""
    leave = getattr(objective, "leave_device", None)  # of tasks that our own loop trains
    if leave is not None:
        leave()
    hand_memory_over()


def how_it_ended(code: int | None) -> str:
    """An exit code in words, as in `by SIGKILL`."""
    if code == DEVICE_LOST:
        return "because its device answered no more"
    if code is None or code >= 0:
        return f"with exit code {code}"
    name = signal.Signals(-code).name
    return f"by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Processes started inside are deaf to Ctrl-C until they are ready for it."""
    resource_tracker.ensure_running()  # started later, it would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _process(job: Job, pipe: Connection) -> None:
    """A worker process: events and a last word go through the pipe."""
    import optuna

    # A terminal sends Ctrl-C to all of its processes, and the launcher passes on what it gets:
    # out of the terminal's group each signal comes once. What the terminal has sent before is
    # forgotten here; the launcher passes it on when we are ready.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    interrupts = Interrupts()
    try:
        with interrupts.installed(), quiet_optuna(), readable_errors(job.storage):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            _send(pipe, interrupts, READY)
            objective = load_here(job)
            with measuring_alone(objective, job.plan.device, takes_turn=False):
                run_here(job, objective, interrupts, partial(_send, pipe, interrupts))
    except DeviceLost:
        raise SystemExit(DEVICE_LOST) from None
    except (RepeatedFailure, ObjectiveError, StorageError, StudyError) as error:
        _give_up(pipe, error)
    raise SystemExit(interrupts.exit_code)


def _give_up(pipe: Connection, error: Exception) -> None:
    with suppress(OSError):  # nobody is left to be told
        pipe.send(error if isinstance(error, RepeatedFailure) else StudyError(str(error)))


def _send(pipe: Connection, interrupts: Interrupts, event: Event | str) -> None:
    try:
        pipe.send(event)
    except OSError:  # whoever launched us was killed: hand the trial back and end too
        interrupts.request(signal.SIGTERM)
