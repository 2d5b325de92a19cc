"""Processes that train beside each other for a moment, to see how far they are in each other's way.

Nothing of it is stored: what trials are told was measured alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import cast

from batchfront.study.machine.alone import measuring_alone
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.opening.probed import prober_of
from batchfront.study.quiet import quiet_optuna
from batchfront.study.workers.launch import Job, load_here
from batchfront.study.workers.team import no_interrupt

SECONDS = 0.3  # of timed training
READY_SECONDS, ANSWER_SECONDS = 180.0, 60.0  # that loading a task, or a step, may take
READY, STOP, STOPPED = "ready", "stop", "stopped"
ROUNDS = 2  # of each: the first begins before others do


class Unanswered(Exception):
    """A process ended, or took too long."""


class Company:
    """Some processes with the same task; used as a context, at whose end they are gone."""

    def __init__(self, job: Job, n: int, interrupts: Interrupts) -> None:
        self._job, self._n, self._interrupts = job, n, interrupts
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []

    def __enter__(self) -> Company:
        try:
            for number in range(self._n):
                self._start(number)
        except BaseException:  # Ctrl-C too: those that have started would live on
            self._end()
            raise
        return self

    def _start(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_train_when_told, args=(self._job, theirs), name=f"beside-{number}"
        )
        with no_interrupt():
            process.start()
        theirs.close()
        self._processes.append(process)
        self._pipes.append(ours)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.join()
            pipe.close()

    def wait(self) -> None:
        """Wait until all have loaded their task.

        Raises:
            Unanswered: one has not.
        """
        heard: list[Connection] = []
        self._listen(
            self._pipes, lambda pipe, _: heard.append(pipe), lambda: len(heard) == self._n,
            seconds=READY_SECONDS,
        )  # fmt: skip

    def step_seconds(self, size: int, n: int) -> list[float]:
        """What a step takes each of `n` of them that train at once.

        All go on until each has measured twice, and the last time counts: others had begun by then,
        however long a process took for its first step.

        Raises:
            Unanswered: one ran out of memory, say.
        """
        some = self._pipes[:n]
        told: dict[Connection, list[float]] = {pipe: [] for pipe in some}
        for pipe in some:
            _send(pipe, size)
        self._listen(
            some,
            lambda pipe, seconds: told[pipe].append(cast(float, seconds)),
            lambda: min(map(len, told.values())) >= ROUNDS,
        )
        for pipe in some:
            _send(pipe, STOP)
        left = set(some)
        self._listen(
            some,
            lambda pipe, said: left.discard(pipe) if said == STOPPED else None,
            lambda: not left,
        )
        return [found[-1] for found in told.values()]

    def _listen(
        self,
        pipes: Sequence[Connection],
        hear: Callable[[Connection, object], object],
        is_done: Callable[[], bool],
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        end = time.monotonic() + seconds
        while not is_done():
            if self._interrupts.signum is not None or time.monotonic() > end:
                raise Unanswered
            for pipe in cast(list[Connection], wait(list(pipes), timeout=0.1)):
                try:
                    hear(pipe, pipe.recv())
                except (EOFError, OSError):
                    raise Unanswered from None


def gains(
    job: Job, n: int, weights: Mapping[int, float], interrupts: Interrupts, *, worth: float
) -> dict[int, float]:
    """How many times as much runs do beside each other as one alone, by their number up to `n`.

    `weights`: the seconds that a run takes, by the batch sizes that are looked at. It ends with the
    first number that gains less than `worth` times the one before, or does not answer.
    """
    found = {1: 1.0}
    with suppress(Unanswered), Company(job, n, interrupts) as company:
        company.wait()
        alone = {size: company.step_seconds(size, 1)[0] for size in weights}
        for k in range(2, n + 1):
            more = {
                size: sum(alone[size] / seconds for seconds in company.step_seconds(size, k))
                for size in weights
            }
            found[k] = sum(weights.values()) / sum(w / more[size] for size, w in weights.items())
            if found[k] < worth * found[k - 1]:
                break
    return found


def _send(pipe: Connection, said: object) -> None:
    try:
        pipe.send(said)
    except OSError:
        raise Unanswered from None


def _train_when_told(job: Job, pipe: Connection) -> None:
    """A process of a company: it ends with whoever started it."""
    os.setpgid(0, 0)  # out of the reach of the terminal's Ctrl-C
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever it meets, its silence says it: out of memory, say, where others have that.
    with suppress(Exception), quiet_optuna():
        objective = load_here(job)
        with measuring_alone(objective, job.plan.device, takes_turn=False):
            prober = prober_of(job.plan, objective)
            pipe.send(READY)
            while True:
                size = pipe.recv()
                while not pipe.poll():
                    pipe.send(prober.step_seconds(size, SECONDS))
                pipe.recv()
                pipe.send(STOPPED)
