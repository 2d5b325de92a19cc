"""Runs a worker in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batchfront.objectives.datasets import DATA_DIR
from batchfront.objectives.metric import AskedMetric
from batchfront.objectives.scripts.loop import SCRIPT
from batchfront.objectives.training.batches import rule_in
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.storage.errors import StorageError
from batchfront.storage.fence import StudyGone
from batchfront.storage.names import redacted
from batchfront.storage.open import exists, open_storage, waiting_for_server
from batchfront.storage.patience import impatient
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.opening.open import open_study
from batchfront.study.opening.probed import prober_of
from batchfront.study.opening.terms import guard, is_gone
from batchfront.study.plan.plan import Plan
from batchfront.study.search.by_name import make_sampler
from batchfront.study.search.known import N_START
from batchfront.study.search.surface import load_libraries
from batchfront.study.workers.doubts import Doubts
from batchfront.study.workers.events import Emit
from batchfront.study.workers.kept import Kept
from batchfront.study.workers.ledger import Ledger
from batchfront.study.workers.next_trial import NextTrial
from batchfront.study.workers.pulse import Pulse
from batchfront.study.workers.telling import Telling
from batchfront.study.workers.worker import Worker

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

    from batchfront.objectives.objective import Objective
    from batchfront.storage.shared import SharedStorage
    from batchfront.study.plan.limits import Limits
    from batchfront.study.workers.next_trial import Agenda


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker process needs; travels through a pipe, never on a command line."""

    storage: str
    task: str
    data_dir: Path = Path(DATA_DIR)
    plan: Plan
    compiled: bool
    recipe: Recipe = PLAIN
    fingerprint: dict[str, str]  # of the objective, which every process loads for itself
    deadline: float | None  # of time.monotonic()
    checkpoints: Path | None  # folder
    agenda: Agenda | None = None  # what is run instead of a sampler's proposals
    devices: tuple[str, ...] = ()  # of several workers, each on the next one; none: the plan's
    trials_per_gpu: int | str = 1  # at a time; AUTO: whoever launches it finds out


def load_here(job: Job) -> Objective:
    """The objective of a job, in a process of its own.

    Raises:
        ObjectiveError: it cannot be loaded.
        StudyError: it is another one than its launcher has loaded.
    """
    from batchfront.objectives.load import load_objective

    objective = load_objective(
        job.task,
        device=job.plan.device,
        compiled=job.compiled,
        recipe=job.recipe,
        batches=rule_in(job.fingerprint),
        data_dir=job.data_dir,
        script=job.fingerprint.get(SCRIPT),
        asked=AskedMetric(
            name=job.plan.metric.name,
            direction=job.plan.metric.direction,
            usual=job.plan.metric,
        ),
    )
    if objective.fingerprint != job.fingerprint:
        raise StudyError("the task loads differently each time: seed its data")
    return objective


def run_here(job: Job, objective: Objective, interrupts: Interrupts, emit: Emit) -> None:
    """Run one worker in this process.

    Raises:
        RepeatedFailure: trials in a row failed the same way.
        StudyGone: the study was deleted.
        StudyError: the study's grace period is another one by now.
        StorageError: the storage is gone.
    """
    plan = job.plan
    storage, shared = _opened(job.storage)
    study = _study_in(shared, job)
    guard(storage, study, plan.study_id)
    study.sampler = _sampler_of(plan, lambda study: next_trial.limits)  # of the claim that asks it
    watching = _study_in(shared, job)  # a study belongs to one thread
    folder = job.checkpoints
    kept = None if folder is None else Kept(folder=folder, plan=plan, objective=objective)
    pulse = Pulse(storage=storage, study=watching, grace_seconds=plan.grace_seconds)
    with _noticing_that_it_is_gone(storage, study, kept), pulse:
        ledger = Ledger(storage=storage, study=study, plan=plan)
        next_trial = NextTrial(
            storage=storage,
            study=study,
            plan=plan,
            objective=objective,
            ledger=ledger,
            pulse=pulse,
            interrupts=interrupts,
            agenda=job.agenda,
            kept=kept,
        )
        Worker(
            storage=storage,
            study=study,
            plan=plan,
            objective=objective,
            next_trial=next_trial,
            telling=Telling(plan=plan, ledger=ledger, next_trial=next_trial, emit=emit),
            doubts=Doubts(
                storage=storage,
                study=study,
                plan=plan,
                prober=prober_of(plan, objective),
                interrupts=interrupts,
            ),
            pulse=pulse,
            interrupts=interrupts,
            deadline=job.deadline,
            trials_per_gpu=1 if isinstance(job.trials_per_gpu, str) else job.trials_per_gpu,
        ).run()


def _sampler_of(plan: Plan, limits: Callable[[Study], Limits]) -> BaseSampler:
    """The plan's sampler; what it needs soon is loaded, while nobody waits for it under a lock."""
    sampler = make_sampler(
        plan.sampler,
        space=plan.space,
        seed=plan.seed,
        hardware=plan.hardware,
        limits=limits,
        has_budget=plan.goal.budget is not None,
        past=plan.past,
    )
    is_soon = plan.sampler == "cost-aware" and (plan.n_trials > N_START or plan.past)
    if plan.goal.is_auto or is_soon:
        load_libraries()
    return sampler


def _opened(url: str) -> tuple[SharedStorage, BaseStorage]:
    """The storage, and as Optuna would open it: one cache of trials, for all views of a study."""
    from optuna.storages import get_storage

    try:
        storage = waiting_for_server(url, lambda: open_storage(url, mode="late worker"))
    except StorageError as error:
        if exists(url):
            raise
        raise _deleted(url) from error
    return storage, get_storage(storage)


def _study_in(storage: BaseStorage, job: Job) -> Study:
    """The study that this machine was to work at; it was there when its workers were started."""
    from optuna import get_all_study_names

    try:
        return open_study(storage, job.plan.study_name)
    except StudyError:
        if job.plan.study_name in get_all_study_names(storage):
            raise
        raise _deleted(job.storage) from None


def _deleted(url: str) -> StorageError:
    return StorageError(f"{redacted(url)} is not there any more: it was deleted")


@contextmanager
def _noticing_that_it_is_gone(
    storage: SharedStorage, study: Study, kept: Kept | None
) -> Iterator[None]:
    """Whoever works at a study that is deleted meets errors of many kinds: they are told as one."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, StudyGone) and not _is_gone(storage, study):
            raise
        if kept is not None:
            kept.forget()
        if isinstance(error, StudyGone) or storage.fence is None:
            raise
        raise storage.fence.gone(is_replaced=False) from error


def _is_gone(storage: SharedStorage, study: Study) -> bool:
    with suppress(Exception), impatient():  # whatever broke the worker may break this
        return is_gone(storage, study)
    return False
