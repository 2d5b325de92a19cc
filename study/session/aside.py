"""Opens a study from processes of their own, so that the launcher of its workers holds no device.

Such a process loads the task, probes, and creates or resumes the study; it has ended when workers
begin. One that dies while it probes costs that probe: the next one goes on with the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.hardware import all_memory_bytes
from batchfront.objectives.device.names import SPREADING, beside
from batchfront.objectives.training.recipe import n_ranks
from batchfront.storage.open import open_storage, readable_errors
from batchfront.study.errors import StudyError
from batchfront.study.machine.alone import measuring_alone
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.opening.open import open_study
from batchfront.study.opening.terms import guard
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.probes.prober import REMEDY, DeviceGone, Watch, unrun
from batchfront.study.session.devices import device_notes
from batchfront.study.session.elsewhere import Elsewhere
from batchfront.study.session.opened import loaded, opened
from batchfront.study.trials.costs import SizeCost
from batchfront.study.workers.apart import Ask, Died, apart
from batchfront.study.workers.launch import Job
from batchfront.study.workers.sharing import Sharing, sharing_of

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective

MOST_DEATHS = 3  # in a row, without a probe between them


def goes_aside(device: str, n_workers: int) -> bool:
    """Whether the launcher is to leave the device to others: workers train there, and it does not.

    A worker in this process needs its context; and on the CPU there is none.
    """
    return n_workers > 1 and device.startswith("cuda")


@dataclass(frozen=True, kw_only=True)
class Introduced:
    """What a launcher says and checks before the study is opened."""

    objective: Elsewhere
    notes: list[str]  # on the device
    devices: tuple[str, ...]  # where workers may train


@dataclass(frozen=True, kw_only=True)
class Begins:
    """A probe is about to begin; answered by its cost where that is known."""

    size: int
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The cost that a probe has found."""

    cost: SizeCost


class Relay(Watch):
    """Sees the probes of this process for the launcher."""

    def __init__(self, ask: Ask, *, lost_seconds: float) -> None:
        self._ask = ask
        self.lost_seconds = lost_seconds

    def begins(self, size: int, done: int, total: int) -> SizeCost | None:
        known: SizeCost | None = self._ask(Begins(size=size, done=done, total=total))
        return known

    def ended(self, cost: SizeCost) -> None:
        self._ask(Ended(cost=cost))


def open_there(
    ask: Ask, interrupts: Interrupts, settings: StudySettings, device: str, lost_seconds: float
) -> tuple[Plan, bool]:
    """The plan of the study that the settings name, and whether it is new; for a process apart.

    `lost_seconds`: for which earlier ones have probed that were lost.
    """
    with interrupts.armed(), readable_errors(settings.storage):
        objective = loaded(settings, device)
        spreads, ranks = settings.device in SPREADING, n_ranks(objective)
        ask(
            Introduced(
                objective=Elsewhere.of(objective),
                notes=device_notes(settings, device),
                devices=beside(device, n_ranks=ranks) if spreads else (device,),
            )
        )
        with measuring_alone(objective, device, takes_turn=False):
            watch = Relay(ask, lost_seconds=lost_seconds)
            _, plan, is_new = opened(settings, objective, device=device, watch=watch)
        return replace(plan, device_bytes=all_memory_bytes(device)), is_new


def sharing_there(
    ask: Ask, interrupts: Interrupts, job: Job, objective: Elsewhere, n_workers: int
) -> Sharing:
    """How many trials share a GPU; for a process apart."""
    return sharing_of(job, objective, n_workers, interrupts)


def sharing_found(
    job: Job, objective: Objective, n_workers: int, interrupts: Interrupts
) -> Sharing:
    """How many trials share a GPU, found out wherever the study is opened."""
    if not goes_aside(job.plan.device, n_workers):
        return sharing_of(job, objective, n_workers, interrupts)
    try:
        found: Sharing = apart(sharing_there, job, objective, n_workers, interrupts=interrupts)
    except Died as died:
        why = f"the process that was to measure how many could share it died {died}"
        found = Sharing(n=1, why=f"trials take turns on {job.plan.device}: {why}")
    return found


class Aside:
    """The launcher's side of it."""

    def __init__(
        self,
        settings: StudySettings,
        device: str,
        *,
        introduce: Callable[[Introduced], None],
        watch: Watch,
        say: Callable[[str], None],
    ) -> None:
        """`introduce` is called once, before the study is opened, and may refuse it."""
        self._settings = replace(settings, callbacks=(), log=None)  # they stay in this process
        self._device = device
        self._introduce, self._watch, self._say = introduce, watch, say
        self._introduced = False
        self._known: dict[int, SizeCost] = {}  # by the number of the probe
        self._probing: Begins | None = None
        self._begun_at = 0.0  # of that probe
        self._seconds = self._lost_seconds = 0.0  # of this process's probes, of those of lost ones
        self._n_deaths = 0  # in a row

    def open(self) -> tuple[Any, Plan, bool]:
        """The study, what to do with it, and whether it is new.

        Raises:
            StudyError, ObjectiveError, StorageError: what a user can mend.
        """
        while True:
            try:
                plan, is_new = apart(
                    open_there,
                    self._settings,
                    self._device,
                    self._lost_seconds,
                    hear=self._hear,
                )
            except (DeviceGone, Died) as lost:
                self._lost(lost)
            else:
                break
        storage = open_storage(self._settings.storage, mode="worker")
        study = open_study(storage, plan.study_name)
        guard(storage, study, plan.study_id)
        return study, plan, is_new

    def _hear(self, said: Introduced | Begins | Ended) -> SizeCost | None:
        if isinstance(said, Introduced):
            if not self._introduced:
                self._introduced = True
                self._introduce(said)
            return None
        if isinstance(said, Begins):
            self._probing, self._begun_at = said, time.monotonic()
            self._watch.begins(said.size, said.done, said.total)
            return self._known.get(said.done)
        if self._probing is not None:
            self._note(self._probing, said.cost)
        return None

    def _note(self, probe: Begins, cost: SizeCost) -> None:
        """Keep what a probe has found, and how long it took; it may have been known before."""
        if probe.done not in self._known:
            self._n_deaths = 0
            self._seconds += time.monotonic() - self._begun_at
        self._known[probe.done] = cost
        self._probing = None

    def _lost(self, lost: DeviceGone | Died) -> None:
        """Count a probe as failed, and go on; where none was made the process has no evidence."""
        gone = isinstance(lost, DeviceGone)
        how = str(lost).removesuffix(REMEDY) if gone else f"its process died {lost}"
        self._n_deaths += 1
        probe, self._probing = self._probing, None
        if probe is None or self._n_deaths >= MOST_DEATHS:
            what = "load the task" if not self._introduced else "open the study"
            at = "" if probe is None else f" when batch size {probe.size} was probed"
            raise StudyError(
                f"the process that was to {what} on {self._device} ended{at} ({how}): mend the "
                "task, or run the same command again"
            )
        self._lost_seconds += self._seconds + time.monotonic() - self._begun_at
        self._seconds = 0.0
        self._known[probe.done] = unrun(probe.size, None, error=how[:500])
        what = how if gone else f"the probe of batch size {probe.size} failed ({how})"
        self._say(f"note: {what}; another process goes on")
