"""A live line on a terminal; one line per finished trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Verdict
from batchfront.study.probes.prober import Watch
from batchfront.study.session.pace import Pace
from batchfront.study.session.so_far import SoFar
from batchfront.study.session.tally import Tally
from batchfront.study.show import counted, in_notebook, metric_form
from batchfront.study.workers.events import QUEUED_AGAIN, Event

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

    from batchfront.study.plan.settings import StudySettings

WIDE = 100  # columns from which on there is room for a bar, and for all on one line
BAR = 10  # columns


class Live:
    """Shows a bar of rich's from entering to leaving."""

    _bar: Any  # of rich, or InPlace

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


class InPlace:
    """A bar on one line, which is written over: all that the output of a notebook's cell can do."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._total: int | None = None
        self._longest = 0

    def start(self) -> None:
        """Nothing is written before there is something to say."""

    def stop(self) -> None:
        """End the line."""
        if self._longest:
            print(file=self._file, flush=True)

    def add_task(self, description: str, *, total: int | None, completed: int) -> int:
        """Remember how many there will be; returns 0, the number of the only task."""
        self._total = total
        self.update(0, completed=completed, description=description)
        return 0

    def update(self, task: int, *, completed: int, description: str) -> None:
        """Write the line anew."""
        line = description.splitlines()[0]
        if self._total is None:
            line = f"{completed} {line}"
        else:
            done = BAR * min(completed, self._total) // max(self._total, 1)
            line = f"{completed}/{self._total} [{'#' * done:<{BAR}}] {line}"
        self._longest = max(self._longest, len(line))
        print(f"\r{line:<{self._longest}}", end="", file=self._file, flush=True)


class Progress(Live):
    """Follows the events of all workers."""

    def __init__(
        self,
        console: Console,
        *,
        n_trials: int | None,
        n_done: int,
        tally: Callable[[], Tally],
        length: Length,
        n_workers: int,
        so_far: SoFar,
    ) -> None:
        """`n_trials`: how many there will be; None: nobody knows.

        `tally` counts what the study holds, as the tables at its end will.
        """
        self._console = console
        self._n_trials = n_trials
        self._n_done = self._n_before = n_done
        self._length = length
        self._find_tally = tally
        self._tally = tally()
        self._n_workers = n_workers
        self._workers: dict[int, str] = {}  # what each does, where there are several
        self._so_far = so_far
        self._pace = Pace()
        self._waits = False
        self._noted = False
        self._started: float | None = None  # of the first trial: workers take a while to start
        in_place = in_notebook()
        self._live = console.is_terminal or in_place
        self._is_wide = console.width >= WIDE
        self._bar = InPlace(console.file) if in_place else _bar_on(console)
        self._task = self._bar.add_task("starting", total=n_trials, completed=n_done)

    def __call__(self, event: Event) -> None:
        """Take one worker's event."""
        if self._started is None:
            self._started = time.monotonic()
        if event.kind == "ended":
            self._end(event)
        self._n_done = max(self._n_done, event.n_finished)  # other machines' workers count too
        if self._live:
            self._update(event)
        else:
            self._log(event)
        self._waits = event.kind == "waiting"
        if event.reason and event.verdict == "failed":
            self._console.print(f"trial {event.number} failed: {event.reason}", soft_wrap=True)
        elif event.reason and event.verdict == QUEUED_AGAIN:
            self._console.print(f"trial {event.number}: {event.reason}", soft_wrap=True)
        elif event.reason and event.verdict == Verdict.COMPLETED and not self._noted:
            self._noted = True  # others have the same
            self._console.print(f"note: {event.reason}", soft_wrap=True)

    def _update(self, event: Event) -> None:
        if event.kind == "ended":
            self._so_far.renew()
        beside = 2 * len(f"{self._n_trials or '???'}/") + (BAR + 2 if self._is_wide else 0)
        lines = [*self._lines(event), self._so_far.line(self._console.width - beside)]
        said = "\n".join(line for line in lines if line)
        self._bar.update(self._task, completed=self._n_done, description=said)

    def _log(self, event: Event) -> None:
        """Plain text: where nobody watches, a line a trial is kept in logs, and slow epochs."""
        date = self._pace.stamp(event)
        if event.kind == "ended":
            total = "" if self._n_trials is None else f"/{self._n_trials}"
            line = f"{self._n_done}{total} {self._did(event)} | {self._sums()}"
            print(f"{date}{line}", file=self._console.file, flush=True)
        elif date or (event.kind == "waiting" and not self._waits):
            print(f"{date}{self._did(event)}", file=self._console.file, flush=True)

    def _end(self, event: Event) -> None:
        if event.verdict in ("interrupted", "taken over", QUEUED_AGAIN):
            return
        self._tally = self._find_tally()
        if event.is_beside:
            return
        if event.goes_on:  # it was counted
            self._n_done = max(self._n_done, event.n_finished + 1)
        else:
            self._n_done += 1

    def _lines(self, event: Event) -> list[str]:
        """What every worker does, and the sums."""
        if self._n_workers == 1:
            lines = [self._did(event), self._sums()]
            return [" | ".join(lines)] if self._is_wide else lines
        self._workers[event.worker] = self._did(event)
        who = "worker " if self._is_wide else ""
        return [self._sums(), *(f"{who}{n}: {did}" for n, did in sorted(self._workers.items()))]

    def _did(self, event: Event) -> str:
        who = f"trial {event.number}{' goes on:' if event.goes_on else ''}"
        what = f"{who} batch {event.batch_size} lr {event.learning_rate:.2g} "
        return did(event, what, self._length)

    def _sums(self) -> str:
        sums = str(self._tally)
        return (
            sums if self._n_trials is None else f"{sums} | {self._time_left(self._n_trials)} left"
        )

    def _time_left(self, n_trials: int) -> str:
        ran = self._n_done - self._n_before
        if ran == 0 or self._started is None:
            return "?"
        pace = (time.monotonic() - self._started) / ran
        seconds = round(pace * max(0, n_trials - self._n_done))
        return f"{seconds // 60}:{seconds % 60:02d}"


def _bar_on(console: Console) -> Bar:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        MofNCompleteColumn(),
        *([BarColumn(bar_width=BAR)] if console.width >= WIDE else []),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
    )


def did(event: Event, what: str, length: Length) -> str:
    """What a worker does, in words; `what` names the run."""
    if event.kind == "waiting":
        return f"waiting for {counted(event.n_running, 'trial')} that others run"
    metric = event.values[0] if event.values is not None else event.metric
    state = event.verdict or f"{length.point} {event.epoch}/{length.points}"
    return f"{what}{state} {'-' if metric is None else f'{metric:{metric_form(metric, digits=3)}}'}"


class Watcher(Watch):
    """Shows how far a probe is, on one line of a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_said = False

    def begins(self, size: int, done: int, total: int) -> None:
        if self._console.is_terminal:
            self._console.print(f"probing batch sizes {done}/{total}", end="\r")
        elif not self._is_said:
            self._console.print("probing batch sizes")
            self._is_said = True


def say_compiling(settings: StudySettings, console: Console) -> None:
    """Why loading the task will take a while, where it will."""
    if settings.compile:
        console.print("compiling the training step: some ten seconds")
