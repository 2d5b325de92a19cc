"""Shows which run of a protocol is under way, where nobody knows how many there will be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.length import Length
from batchfront.study.session.pace import Pace
from batchfront.study.session.progress import Live, did
from batchfront.study.show import counted
from batchfront.study.workers.events import QUEUED_AGAIN, Event
from batchfront.study.workers.team import WorkerDied, run_workers
from batchfront.study.workers.telling import RepeatedFailure

if TYPE_CHECKING:
    from rich.console import Console

    from batchfront.objectives.objective import Objective
    from batchfront.study.machine.interrupts import Interrupts
    from batchfront.study.workers.launch import Job


class OpenEnded(Live):
    """A live line on a terminal; one line per ended run elsewhere. How many will come is open."""

    def __init__(self, console: Console, *, length: Length) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = console
        self._length = length
        self._n_ended = 0
        self._pace = Pace()
        self._doing: dict[int, str] = {}  # by worker
        self._bar = Progress(
            SpinnerColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __call__(self, event: Event) -> None:
        """Take one worker's event."""
        did = self._did(event)
        if event.kind == "ended":
            self._n_ended += 1
        if not self._console.is_terminal:
            self._log(event, did)
        self._doing[event.worker] = did
        lines = [did for _, did in sorted(self._doing.items())]
        self._bar.update(self._task, description="\n".join([counted(self._n_ended, "run"), *lines]))
        if event.reason and event.verdict == "failed":
            self._console.print(f"trial {event.number} failed: {event.reason}", soft_wrap=True)
        elif event.reason and event.verdict == QUEUED_AGAIN:
            self._console.print(f"trial {event.number}: {event.reason}", soft_wrap=True)

    def _log(self, event: Event, did: str) -> None:
        date = self._pace.stamp(event)
        if event.kind == "ended":
            print(f"{date}run {self._n_ended}: {did}", file=self._console.file, flush=True)
        elif date:
            print(f"{date}{did}", file=self._console.file, flush=True)

    def _did(self, event: Event) -> str:
        what = f"batch size {event.batch_size}, learning rate {event.learning_rate:.2g}: "
        return did(event, what, self._length)


def run_agenda(
    job: Job, objective: Objective, *, n_workers: int, interrupts: Interrupts, console: Console
) -> Exception | None:
    """Have workers run what the job's agenda asks for; returns why they could not go on."""
    with OpenEnded(console, length=job.plan.length) as progress:
        try:
            run_workers(job, objective, n_workers, interrupts, progress)
        except (RepeatedFailure, WorkerDied) as failure:
            return failure
    return None
