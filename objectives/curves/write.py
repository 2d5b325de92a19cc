"""Writes training curves into a table: what a replay plays back."""

from __future__ import annotations

import csv
import fcntl
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchfront.objectives.curves.table import COLUMNS, N_TRAIN, Key, Table, read_table
from batchfront.objectives.length import Length
from batchfront.objectives.measurement import ObjectiveError, TrialParams, Verdict
from batchfront.objectives.metric import Metric
from batchfront.objectives.run import Run, carry_out


class RecordingRun(Run):
    """A `Run` that writes down and lets go on: only a non-finite loss or metric ends it."""

    def __init__(self, *, device: str, metric: str | Metric | None) -> None:
        super().__init__(device=device, metric=metric, measure_memory=False)
        self.losses: list[float] = []  # mean over each epoch
        self._sum: Any = 0.0
        self._count = 0

    def step(self, loss: Any, n: int = 1) -> None:
        """Add the loss of one step, or of several; no stop rule looks at it."""
        self._raise_latched()
        self._begun()
        self._steps += n
        self._count += n
        self._sum += n * (loss.detach() if hasattr(loss, "detach") else loss)

    def steps(self, losses: Sequence[float]) -> None:
        """Add the losses of several steps."""
        for loss in losses:
            self.step(loss)

    def report(self, value: float | None = None, /, **named: float | None) -> None:
        """Close an epoch."""
        self._raise_latched()
        value, _ = self._told(value, named)
        self.losses.append(float(self._sum) / max(self._count, 1))
        self.curve.append(value)
        self._sum, self._count = 0.0, 0
        if not (math.isfinite(value) and math.isfinite(self.losses[-1])):
            self._stop(Verdict.NON_FINITE, "recorded to its end")


def record_run(
    objective: Callable[[TrialParams, Run], None],
    params: TrialParams,
    *,
    metric: str | Metric | None,
) -> list[tuple[float, float]]:
    """Mean loss and metric of each epoch.

    Raises:
        ObjectiveError: the objective did not report once an epoch.
    """
    run = RecordingRun(device=params.device, metric=metric)
    carry_out(objective, params, run)
    return curve_of(run, params)


def curve_of(run: RecordingRun, params: TrialParams) -> list[tuple[float, float]]:
    """What `record_run` returns, of a run that has ended; raises as that does."""
    n_reports, finite, length = len(run.curve), run.latched is None, params.planned
    if n_reports == 0 or (n_reports != length.points and finite):
        raise ObjectiveError(
            f"the objective reported {n_reports} times in {length.points} {length.point}s: a table "
            f"has one row an {length.point}, so call run.report once an {length.point}"
        )
    return list(zip(run.losses, run.curve, strict=True))


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A table that grows by whole runs, whatever interrupts it."""

    path: Path
    task: str
    optimizer: str
    length: Length

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else records into the file inside.

        Raises:
            ObjectiveError: somebody does already, or it is a compressed file.
        """
        if self.path.suffix == ".gz":
            raise ObjectiveError(f"{self.path}: a table is recorded uncompressed; gzip it after")
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise ObjectiveError(f"{self.path} is no regular file: choose another file")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ObjectiveError(
                    f"another process is recording into {self.path}: choose another file"
                ) from None
            try:
                yield
            finally:
                if self.path.exists() and self.path.stat().st_size <= len(self._head):
                    self.path.unlink()  # nothing was recorded

    @property
    def _head(self) -> bytes:
        return _head_of(*self._more)

    @property
    def _more(self) -> tuple[str, ...]:
        """The last column: how far each row is, or how many examples a plain epoch has.

        Files of plain epochs that were begun without it go on so.
        """
        if not self.length.is_plain:
            return (self.length.unit,)
        there = _first_line(self.path) if self.path.exists() else b""
        if there == _head_of():
            return ()
        is_said = self.length.n_train is not None or there == _head_of(N_TRAIN)
        return (N_TRAIN,) if is_said else ()

    def open(self) -> Table | None:
        """What is recorded so far, cut back to whole runs; None for a new table.

        Raises:
            ObjectiveError: not a table, or one of another task, optimizer or number of epochs.
        """
        if not self.path.exists() or not self._cut_torn_line():
            self.path.write_bytes(self._head)
            return None
        if self.path.stat().st_size == len(self._head):
            return None
        table = read_table(self.path)
        self._check(table)
        self._check_examples(table)
        *_, last = table.runs
        return self._without_last(table) if self._is_short(table, last) else table

    def add(
        self, key: Key, curve: Iterable[tuple[float, float]], *, seconds: float, peak: int
    ) -> None:
        """Append one run in one write; `seconds` of an epoch, `peak` bytes."""
        size, rate, seed = key
        more = self._more
        self._append(
            [
                self.task, self.optimizer, size, f"{rate:g}", seed, epoch,
                f"{loss:.6g}", f"{value:.6g}", f"{epoch * seconds:.6g}", peak,
                *(self._cell(column, epoch) for column in more),
            ]
            for epoch, (loss, value) in enumerate(curve, 1)
        )  # fmt: skip

    def _cell(self, column: str, point: int) -> int | None:
        """What the last column says at a point."""
        length = self.length
        return length.n_train if column == N_TRAIN else length.amount * point // length.points

    def _append(self, rows: Iterable[Iterable[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        size = self.path.stat().st_size
        try:
            with self.path.open("ab") as stream:
                stream.write(text.getvalue().encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:  # half a run on a full disk: who reads the table should not meet it
            os.truncate(self.path, size)
            raise

    def _cut_torn_line(self) -> bool:
        """Cut back to the last newline; returns whether the head is whole."""
        content = self.path.read_bytes()
        head = self._head
        if not (content.startswith(head) or head.startswith(content)):
            raise ObjectiveError(
                f"{self.path} does not begin like a table of training curves of {self.length}: "
                "record into another file"
            )
        os.truncate(self.path, content.rfind(b"\n") + 1)
        return content.startswith(head)

    def _check(self, table: Table) -> None:
        found, wanted = (table.task, table.optimizer), (self.task, self.optimizer)
        if found != wanted:
            raise ObjectiveError(
                f"{self.path} holds {' with '.join(found)}, this is {' with '.join(wanted)}: "
                "record into another file"
            )
        *whole, last = [len(run.val_accuracy) for run in table.runs.values() if run.is_finite] or [
            self.length.points
        ]
        most, there = self.length.points, table.length
        wrong = {n for n in whole if n != most} | ({last} if last > most else set())
        if wrong or (there.points == most and there.amount != self.length.amount):
            held = f"{max(wrong)} {there.point}s" if wrong else str(there)
            raise ObjectiveError(
                f"{self.path} holds runs of {held}, this asks for {self.length}: "
                "record into another file"
            )

    def _check_examples(self, table: Table) -> None:
        """Rows that disagree would leave the table without a number of examples."""
        found, wanted = table.n_train, self.length.n_train
        if found is not None and found != wanted:
            raise ObjectiveError(
                f"{self.path} holds runs on {found} training examples, this one has "
                f"{wanted or 'an unknown number'}: record into another file"
            )

    def _is_short(self, table: Table, key: Key) -> bool:
        run = table.runs[key]
        return run.is_finite and len(run.val_accuracy) < self.length.points

    def _without_last(self, table: Table) -> Table | None:
        """Runs are written one after the other, so a torn one is the file's end."""
        *whole, last = table.runs
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = lines[: len(lines) - len(table.runs[last].val_accuracy)]
        os.truncate(self.path, sum(map(len, kept)))
        return read_table(self.path) if whole else None


def _head_of(*more: str) -> bytes:
    return (",".join((*COLUMNS, *more)) + "\n").encode()


def _first_line(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.readline()
