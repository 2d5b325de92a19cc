"""Runs workers: one in this process, or several local ones."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, cast

from objectives.load import CustomLoop
from objectives.measurement import ObjectiveError
from storage import url as storage_url
from storage.errors import StorageError
from study.comparable import stored_costs
from study.create import Plan, open_study, prober_of
from study.errors import StudyError
from study.events import Emit, Event
from study.interrupts import Interrupts
from study.limits import known_limits
from study.quiet import quiet_optuna
from study.search.choose import make_sampler
from study.slots import pinned_core
from study.worker import RepeatedFailure, Worker

if TYPE_CHECKING:
    from objectives.load import Objective

STOP_SECONDS = 20.0  # how long workers get to hand back their trials before they are killed


class WorkerDied(Exception):
    """A worker process ended without saying why: killed, or out of memory."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker process needs; travels through a pipe, never on a command line."""

    storage: str
    task: str
    plan: Plan
    compiled: bool
    fingerprint: dict[str, str]  # of the objective, which every process loads for itself
    deadline: float | None  # of time.monotonic()


def run_here(job: Job, objective: Objective, interrupts: Interrupts, emit: Emit) -> None:
    """Run one worker in this process.

    Raises:
        RepeatedFailure: trials in a row failed the same way.
    """
    storage = storage_url.open_storage(job.storage, mode="worker")
    study = open_study(storage, job.plan.study_name)
    plan = job.plan
    study.sampler = make_sampler(
        plan.sampler,
        space=plan.space,
        seed=plan.seed,
        hardware=plan.hardware,
        limits=lambda study: known_limits(study, plan, stored_costs(study, plan.hardware)),
    )
    Worker(
        study=study,
        plan=job.plan,
        objective=objective,
        prober=prober_of(job.plan, objective),
        claim_lock=partial(storage_url.claim_lock, job.storage),
        interrupts=interrupts,
        emit=emit,
        deadline=job.deadline,
    ).run()


def run_processes(job: Job, n_workers: int, interrupts: Interrupts, emit: Emit) -> None:
    """Run several worker processes until all have ended; a signal to us is passed on to them.

    Raises:
        RepeatedFailure: a worker gave up.
        WorkerDied: without a word; its trial is failed by the next one that claims.
        StudyError: what a worker could not go on with.
    """
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, BaseProcess] = {}
    for number in range(n_workers):
        ours, theirs = context.Pipe(duplex=False)
        process: BaseProcess = context.Process(
            target=_process, args=(job, theirs), name=f"worker-{number}"
        )
        process.start()
        theirs.close()
        workers[ours] = process
    try:
        said = _watch(workers, interrupts, emit)
    finally:
        for process in workers.values():
            process.kill()
            process.join()
    died = [p.name for p in workers.values() if p.exitcode not in (0, 130, 143)]
    if said:
        raise said[0]
    if died and interrupts.signum is None:
        raise WorkerDied(
            f"{', '.join(died)} died; run the same command again to complete the study"
        )


def _watch(
    workers: dict[Connection, BaseProcess], interrupts: Interrupts, emit: Emit
) -> list[Exception]:
    """Pass events on until every pipe is closed; returns what workers gave up with."""
    open_pipes = set(workers)
    said: list[Exception] = []
    stop_at: float | None = None
    while open_pipes:
        if interrupts.signum is not None and stop_at is None:
            stop_at = time.monotonic() + STOP_SECONDS
            for process in workers.values():
                process.terminate()
        if stop_at is not None and time.monotonic() > stop_at:
            break
        for pipe in cast(list[Connection], wait(list(open_pipes), timeout=0.2)):
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                open_pipes.discard(pipe)
                continue
            if isinstance(message, Event):
                emit(message)
            else:
                said.append(message)
    for process in workers.values():
        process.join(timeout=STOP_SECONDS)
    return said


def _process(job: Job, pipe: Connection) -> None:
    """A worker process: events and a last word go through the pipe."""
    import optuna

    from objectives.load import load_objective

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    interrupts = Interrupts()
    try:
        with (
            interrupts.installed(),
            quiet_optuna(),
            storage_url.readable_errors(job.storage),
        ):
            objective = load_objective(job.task, device=job.plan.device, compiled=job.compiled)
            if objective.fingerprint != job.fingerprint:
                raise StudyError("the task loads differently each time: seed its data")
            with measuring_alone(objective, job.plan.device):
                run_here(job, objective, interrupts, partial(_send, pipe, interrupts))
    except (RepeatedFailure, ObjectiveError, StorageError, StudyError) as error:
        pipe.send(error if isinstance(error, RepeatedFailure) else StudyError(str(error)))
    raise SystemExit(interrupts.exit_code)


def _send(pipe: Connection, interrupts: Interrupts, event: Event) -> None:
    try:
        pipe.send(event)
    except OSError:  # whoever launched us was killed: hand the trial back and end too
        interrupts.request(signal.SIGTERM)


@contextmanager
def measuring_alone(objective: Objective, device: str) -> Iterator[None]:
    """One thread, and on the CPU one core that no other worker uses.

    A training loop of your own is not pinned: it may start processes, which would share the core.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pinned_core(wanted=device.startswith("cpu") and not isinstance(objective, CustomLoop)):
            yield
    finally:
        torch.set_num_threads(threads)
