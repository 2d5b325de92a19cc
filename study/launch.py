"""Runs a worker in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from objectives.datasets import DATA_DIR
from objectives.load import CustomLoop
from objectives.parallel import ranks_on
from objectives.recipe import PLAIN, Recipe, n_ranks
from storage.url import open_storage
from study.comparable import stored_costs
from study.create import Plan, open_study, prober_of
from study.events import Emit
from study.interrupts import Interrupts
from study.limits import known_limits
from study.pulse import Pulse
from study.retry import after_death
from study.search.choose import make_sampler
from study.slots import pinned_core
from study.worker import Worker

if TYPE_CHECKING:
    from objectives.load import Objective
    from study.smallest.agenda import Agenda


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


def run_here(job: Job, objective: Objective, interrupts: Interrupts, emit: Emit) -> None:
    """Run one worker in this process.

    Raises:
        RepeatedFailure: trials in a row failed the same way.
    """
    from optuna.storages import get_storage

    from storage.shared import Heartbeat

    plan = job.plan
    heartbeat = Heartbeat(grace_seconds=plan.grace_seconds, on_stale=after_death)
    storage = open_storage(job.storage, mode="worker", heartbeat=heartbeat)
    shared = get_storage(
        storage
    )  # as Optuna does: one cache of trials, for both views of the study
    study = open_study(shared, plan.study_name)
    study.sampler = make_sampler(
        plan.sampler,
        space=plan.space,
        seed=plan.seed,
        hardware=plan.hardware,
        limits=lambda study: known_limits(
            study.get_trials(deepcopy=False), plan, stored_costs(study, plan.hardware)
        ),
    )
    watching = open_study(shared, plan.study_name)  # a study belongs to one thread
    with Pulse(storage=storage, study=watching, heartbeat=heartbeat) as pulse:
        Worker(
            storage=storage,
            study=study,
            plan=plan,
            objective=objective,
            prober=prober_of(plan, objective),
            pulse=pulse,
            checkpoints=job.checkpoints,
            interrupts=interrupts,
            emit=emit,
            deadline=job.deadline,
            agenda=job.agenda,
        ).run()


@contextmanager
def measuring_alone(
    objective: Objective, device: str, *, ranks_stay: bool = False
) -> Iterator[None]:
    """One thread, and on the CPU one core that no other worker uses; one for each rank.

    A training loop of your own is not pinned: it may start processes, which would share the core.
    The other ranks that are started inside end with it, unless they are to stay for the next time.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        wanted = device.startswith("cpu") and not isinstance(objective, CustomLoop)
        with (
            pinned_core(wanted=wanted, n=n_ranks(objective)) as spare,
            ranks_on(objective, spare, stay=ranks_stay),
        ):
            yield
    finally:
        torch.set_num_threads(threads)
