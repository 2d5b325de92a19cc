"""`--launcher ray`: workers on the nodes of a Ray cluster that runs already.

A worker is a Ray task that does what `make study` does on a machine that joins a study: it opens
the shared storage, checks or probes its own hardware, and runs trials until the search has ended.
This process starts them, starts again those that die, and shows what the storage says.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import Length
from batchfront.storage.names import redacted
from batchfront.storage.open import readable_errors
from batchfront.study.commands import setting
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import EXIT_SECONDS
from batchfront.study.on_ray.cluster import Cluster, check_cluster, joined, look_at_cluster
from batchfront.study.on_ray.node import Ended
from batchfront.study.on_ray.shipment import shipment
from batchfront.study.on_ray.tasks import cancel, end_of, starter
from batchfront.study.opening.open import stored_record, study_so_far
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.plan.recipe import recipe_in
from batchfront.study.plan.settings import StudySettings, recipe_of
from batchfront.study.quiet import quiet_optuna
from batchfront.study.search.ending import End
from batchfront.study.session.ending import is_under_way, n_finished
from batchfront.study.session.follow import Follower
from batchfront.study.session.progress import Progress
from batchfront.study.session.session import Session
from batchfront.study.session.so_far import SoFar
from batchfront.study.session.tally import Counting
from batchfront.study.show import counted
from batchfront.study.trials.attributes import is_searched
from batchfront.study.trials.paused import is_paused
from batchfront.study.trials.sound import sound_trials
from batchfront.study.workers.team import SAME_CRASHES, WorkerDied

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from rich.console import Console

POLL_SECONDS = 1.0
STOP_SECONDS = EXIT_SECONDS + 1  # how long workers get to hand back their trials


def check_ranks(settings: StudySettings) -> None:
    """Raise StudyError where trials have ranks: Ray would give all of them one CPU or GPU."""
    n = recipe_of(settings, recipe_in(stored_record(settings) or {})).data_parallel
    if n > 1:
        raise StudyError(
            f"data_parallel is {n}, and a Ray worker has one CPU or GPU for all ranks: "
            "leave out --launcher ray, or --data-parallel"
        )


@dataclass(kw_only=True)
class Slot:
    """One worker, and those that were started in its place."""

    number: int
    deaths: int = 0  # in a row
    n_finished: int = 0  # trials of the study at the last of them


class RaySession(Session):
    """What a person sees of a search on a Ray cluster."""

    def __init__(self, settings: StudySettings, console: Console) -> None:
        super().__init__(settings, console)
        self._running: dict[Any, Slot] = {}  # by Ray's reference to the task
        self._study: Study | None = None
        self._before: list[FrozenTrial] = []  # trials that were there when we came
        self._theirs: End | None = None  # the end that a worker found the search at
        self._refused = ""  # what a worker found that a user can mend
        self._n_asked = 0  # signals that were passed on to workers
        self._stop_at: float | None = None  # of time.monotonic(): then workers are killed

    def run(self) -> int:
        """Search to the end; returns the exit code.

        Raises:
            StudyError, ObjectiveError, StorageError: what a user can mend.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        settings = self._settings
        with readable_errors(settings.storage):
            check_ranks(settings)
        with (
            quiet_optuna(),
            readable_errors(settings.storage),
            _no_stdout(),
            shipment(settings) as shipped,
            joined(settings.ray_address, shipped.runtime_env),
        ):
            cluster = look_at_cluster(settings.device)
            check_cluster(cluster, settings)
            theirs = replace(shipped.settings, device=cluster.device)
            with self._interrupts.installed():
                self._say_what(cluster, theirs)
                self._launch_workers(cluster, theirs)
                return self._said()

    def _say_what(self, cluster: Cluster, theirs: StudySettings) -> None:
        say = self._console.print
        n_workers, n_hosts = self._n_workers(cluster), len(cluster.hosts)
        where = "this machine" if n_hosts == 1 else counted(n_hosts, "machine")
        workers = counted(n_workers, "worker")
        say(f"study {theirs.study_name!r}: {workers} of 1 {cluster.slot} on a Ray cluster, {where}")
        say(f"storage {redacted(self._settings.storage)}")
        self._look(theirs)
        if self._study is None:
            say("one worker creates it, then the others start")
            return
        self._before = sound_trials(self._study)
        if self._nothing_to_do():
            say(f"nothing to do: for more trials pass a larger {setting('n_trials')}")
        else:
            self._say_resumed(self._before)

    def _n_workers(self, cluster: Cluster) -> int:
        return self._settings.n_workers or cluster.n_slots

    def _look(self, theirs: StudySettings) -> None:
        if self._study is None:
            self._study = study_so_far(theirs.storage, str(theirs.study_name))

    def _launch_workers(self, cluster: Cluster, theirs: StudySettings) -> None:
        """Keep workers running and show what they do, until none is left."""
        start = starter(cluster, theirs)
        waiting = [Slot(number=number) for number in range(self._n_workers(cluster))]
        # One creates the study: all at once would probe at once, and time each other.
        self._running[start()] = waiting.pop(0)
        with ExitStack() as stack:
            show: Callable[[], None] | None = None
            while self._running:
                self._wait(start)
                self._look(theirs)
                if self._study is None:
                    continue
                if show is None:
                    show = self._shown(self._study, stack)
                if waiting and self._running and not self._stopping():
                    self._running |= {start(): slot for slot in waiting}
                    waiting.clear()
                show()

    def _wait(self, start: Callable[[], Any]) -> None:
        """Wait for a moment, or until a worker ends; then see to those that did."""
        import ray

        ready, _ = ray.wait(list(self._running), timeout=POLL_SECONDS)
        for task in ready:
            slot, end = self._running.pop(task), end_of(task)
            self._theirs = end.end or self._theirs
            if end.code == 2:
                self._refused = self._refused or end.said
            elif end.code == 1:  # trials in a row failed the same way
                self.failure = self.failure or StudyError(end.said)
            elif end.code != 0 and not self._stopping():
                self._died(slot, end, start)
        self._stop_where_due()

    def _stopping(self) -> bool:
        if self._refused or self._interrupts.signum is not None:
            return True
        # Where runs are paused, the workers know which of them are to go on, and end by themselves.
        # So do those of a search that is at its end by what it knows: it may not be that for all.
        return self._is_full() and not self._has_paused()

    def _has_paused(self) -> bool:
        return self._study is not None and any(map(is_paused, sound_trials(self._study)))

    def _is_complete(self) -> bool:
        """Whether the search is at its total, or at an end that a worker found while none goes on.

        Where nodes differ, others may not have found it yet, by what runs cost there.
        """
        if self._study is None or self._theirs is None:
            return self._is_full()
        return self._is_full() or not is_under_way(sound_trials(self._study))

    def _is_full(self) -> bool:
        if self._study is None:
            return False
        n_done = sum(map(is_searched, sound_trials(self._study)))
        return n_done >= self._settings.most_trials

    def _nothing_to_do(self) -> bool:
        done = sum(is_searched(trial) for trial in self._before) >= self._settings.most_trials
        return done and not any(map(is_paused, self._before))

    def _died(self, slot: Slot, end: Ended, start: Callable[[], Any]) -> None:
        """Start it again, wherever there is room, unless it dies over and over."""
        done = 0 if self._study is None else n_finished(self._study)
        slot.deaths = slot.deaths + 1 if done == slot.n_finished else 1
        slot.n_finished = done
        words = f"worker {slot.number} died ({end.said})"
        if slot.deaths < SAME_CRASHES:
            self._console.print(f"{words}; starting it again", soft_wrap=True)
            self._running[start()] = slot
            return
        words += f", {SAME_CRASHES} times in a row without a trial finished"
        self._console.print(words, soft_wrap=True)
        self.failure = self.failure or WorkerDied(words)

    def _stop_where_due(self) -> None:
        """Ask workers to hand back their trials; kill those that take too long.

        After one Ctrl-C they may take as long as an epoch does.
        """
        if not self._stopping():
            return
        asks = max(1, self._interrupts.n_seen)
        if self._n_asked < asks:
            self._n_asked = asks
            if not self._nothing_to_do():  # then the only worker is about to say what differs
                cancel(self._running)  # of a complete study only those that are still starting
        patient = self._interrupts.n_seen == 1 and self._interrupts.signum == signal.SIGINT
        if self._stop_at is None and not patient:
            self._stop_at = time.monotonic() + STOP_SECONDS
        if self._stop_at is not None and time.monotonic() > self._stop_at:
            cancel(self._running, force=True)
            self._running.clear()

    def _shown(self, study: Study, stack: ExitStack) -> Callable[[], None]:
        """Shows, whenever it is called, what happened in the study since."""
        progress = stack.enter_context(
            Progress(
                self._console,
                n_trials=None if self._settings.goal.is_open else self._settings.most_trials,
                n_done=sum(map(is_searched, self._before)),
                tally=Counting(study),
                length=Length.from_record(study.user_attrs[AGREEMENT]) or Length(amount=1),
                n_workers=1,  # the storage does not say which one a trial belongs to
                so_far=SoFar(list),  # nodes may differ in their hardware: none of them is asked
            )
        )
        follower = Follower(study, self._before)

        def show() -> None:
            for event in follower.news():
                progress(event)

        return show

    def _said(self) -> int:
        """What came out; the exit code.

        Raises:
            StudyError: what a worker could not go on with.
        """
        if self._refused:
            raise StudyError(self._refused)
        if self._study is not None:
            end = self._theirs or End(why="trials", expected=None)
            self._outcome(self._study, end if self._is_complete() else None)
        if self.failure is not None and not (
            self._is_complete() and isinstance(self.failure, WorkerDied)
        ):
            self._console.print(f"error: {self.failure}", style="red", soft_wrap=True)
            return 1
        return self._exit_code(asked=self._is_complete() or self._settings.timeout is not None)


@contextmanager
def _no_stdout() -> Iterator[None]:
    """Ray prints there what it thinks of a node that died, even when told not to; we never do."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield
