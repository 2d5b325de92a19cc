"""A call in a process of its own, which has ended when it is answered.

Whoever has touched CUDA keeps its context, some hundred MiB of the device, for as long as it lives:
a launcher that is to live beside its workers asks others to touch it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from batchfront.objectives.measurement import ObjectiveError
from batchfront.storage.errors import StorageError
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import EXIT_SECONDS, Interrupted, Interrupts
from batchfront.study.probes.prober import DeviceGone
from batchfront.study.quiet import quiet_optuna
from batchfront.study.workers.team import how_it_ended, no_interrupt

POLL_SECONDS = 0.2
MENDABLE = (DeviceGone, ObjectiveError, StorageError, StudyError)
TOLD = (*MENDABLE, OSError)  # what a caller is told; the last is of files and disks
Ask = Callable[[Any], Any]  # whoever has called, and wait for the answer


class Died(Exception):
    """The process ended without an answer; the message is how, as in `by SIGKILL`."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the call has returned."""

    value: Any


def apart(
    function: Callable[..., Any],
    *args: Any,
    hear: Callable[[Any], object] = lambda said: None,
    interrupts: Interrupts | None = None,
) -> Any:
    """What `function(ask, interrupts, *args)` returns in a new process.

    The process has `Interrupts` of its own. A signal that these `interrupts` hear is passed on, and
    the answer waited for; an exception that one raises here ends the process.

    Args:
        function: of a module, as its arguments travel through a pipe.
        hear: answers what the function asks.

    Raises:
        Died: it did not answer.
        DeviceGone, ObjectiveError, StorageError, StudyError, OSError: the function has raised it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, function, args), name="apart")
    try:
        with no_interrupt():
            process.start()
        theirs.close()
        return _heard(process, ours, hear, interrupts)
    finally:
        ours.close()  # who waits for an answer hears that there will be none
        _end(process)


def _heard(
    process: BaseProcess,
    pipe: Connection,
    hear: Callable[[Any], object],
    interrupts: Interrupts | None,
) -> Any:
    n_passed_on = 0
    while True:
        if interrupts is not None and n_passed_on < interrupts.n_seen:
            n_passed_on += 1
            process.terminate()
        if not pipe.poll(POLL_SECONDS) and process.is_alive():
            continue
        try:
            said = pipe.recv() if pipe.poll() else None
        except (EOFError, OSError):
            said = None
        if said is None:
            process.join(EXIT_SECONDS)
            raise Died(how_it_ended(process.exitcode))
        if isinstance(said, Answer):
            process.join(EXIT_SECONDS)  # with all that it holds
            return said.value
        if isinstance(said, TOLD):
            raise said
        answer = hear(said)
        with suppress(OSError):  # it has died: the next look tells how
            pipe.send(answer)


def _end(process: BaseProcess) -> None:
    """Ask it to end, wait for a moment, and see that it is gone."""
    if process.pid is None:  # it was never started
        return
    try:
        if process.is_alive():
            process.terminate()
            process.join(EXIT_SECONDS)
    finally:
        process.kill()
        process.join()


def _answer(pipe: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The process: as a worker it is out of the reach of the terminal's own Ctrl-C."""
    import optuna

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    interrupts = Interrupts()
    try:
        with interrupts.installed(), quiet_optuna():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            said: Any = Answer(value=function(_asking(pipe), interrupts, *args))
    except Interrupted:
        raise SystemExit(interrupts.exit_code) from None
    except MENDABLE as error:
        kind = next(kind for kind in MENDABLE if isinstance(error, kind))
        said = kind(str(error))
    except OSError as error:
        said = error
    with suppress(OSError):  # nobody is left to be told
        pipe.send(said)


def _asking(pipe: Connection) -> Ask:
    def ask(said: Any) -> Any:
        try:
            pipe.send(said)
            return pipe.recv()
        except (EOFError, OSError):  # whoever has called was killed
            raise SystemExit(0) from None

    return ask
