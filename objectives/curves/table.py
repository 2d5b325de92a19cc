"""Tables of recorded training curves: one row an epoch, read with their errors named by line."""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TextIO

from batchfront.objectives.curves.unpack import unpacked
from batchfront.objectives.measurement import ObjectiveError

COLUMNS = (
    "task", "optimizer", "batch_size", "learning_rate", "seed", "epoch", "train_loss",
    "val_accuracy", "train_seconds", "peak_memory_bytes",
)  # fmt: skip

Key = tuple[int, float, int]  # batch size, learning rate, seed


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """One run. Shorter than the table's epochs, or ending in NaN: it went non-finite there."""

    batch_size: int
    learning_rate: float
    seed: int
    train_loss: tuple[float, ...]  # mean over each epoch
    val_accuracy: tuple[float, ...]  # fraction, or R2, after each epoch
    train_seconds: tuple[float, ...]  # cumulative
    peak_memory_bytes: int

    @property
    def is_finite(self) -> bool:
        """Whether every loss and metric is a number."""
        return all(map(math.isfinite, (*self.train_loss, *self.val_accuracy)))


@dataclass(frozen=True, kw_only=True)
class Table:
    """All runs of one task with one optimizer."""

    task: str
    optimizer: str
    runs: dict[Key, RecordedRun]

    @cached_property
    def epochs(self) -> int:
        """The number of epochs of the longest run."""
        return max(len(run.train_loss) for run in self.runs.values())

    @cached_property
    def batch_sizes(self) -> list[int]:
        """Ascending."""
        return sorted({size for size, _, _ in self.runs})

    def learning_rates(self, batch_size: int) -> list[float]:
        """Those recorded at `batch_size`, ascending."""
        return self._rates[batch_size]

    def seeds(self, batch_size: int, learning_rate: float) -> list[int]:
        """Those recorded at one point of the grid, ascending."""
        return self._seeds[batch_size, learning_rate]

    @cached_property
    def _rates(self) -> dict[int, list[float]]:
        return {b: sorted({r for size, r, _ in self.runs if size == b}) for b in self.batch_sizes}

    @cached_property
    def _seeds(self) -> dict[tuple[int, float], list[int]]:
        seeds: dict[tuple[int, float], list[int]] = {}
        for size, rate, seed in sorted(self.runs):
            seeds.setdefault((size, rate), []).append(seed)
        return seeds

    @cached_property
    def metric(self) -> str:
        """R2 where any value is negative: an accuracy never is."""
        values = (v for run in self.runs.values() for v in run.val_accuracy)
        return "val_r2" if any(v < 0 for v in values) else "val_accuracy"

    @cached_property
    def baseline_loss(self) -> float:
        """Loss of the best constant predictor, estimated: the table does not say it.

        The slowest learning rate at the largest batch size has hardly left it after one epoch. For
        classes that is rounded to the entropy of a whole number of equally likely ones.
        """
        size = self.batch_sizes[-1]
        rate = self.learning_rates(size)[0]
        losses = [self.runs[size, rate, seed].train_loss[0] for seed in self.seeds(size, rate)]
        first = sum(losses) / len(losses)
        if self.metric == "val_r2" or not 0.3 < first < 10:
            return first
        return math.log(max(2, round(math.exp(first))))

    @cached_property
    def baseline_metric(self) -> float:
        """The metric of a constant predictor: 0 for R2, the share of one class for accuracy."""
        return 0.0 if self.metric == "val_r2" else min(1.0, math.exp(-self.baseline_loss))

    def nearest(self, batch_size: int, learning_rate: float, seed: int) -> RecordedRun:
        """The recorded run nearest in log batch size, then log learning rate; `seed` picks one."""
        size = min(self.batch_sizes, key=lambda b: abs(math.log(b / batch_size)))
        rate = min(self._rates[size], key=lambda r: abs(math.log(r / learning_rate)))
        seeds = self._seeds[size, rate]
        return self.runs[size, rate, seeds[seed % len(seeds)]]

    def epoch_seconds(self, batch_size: int) -> float:
        """Training seconds an epoch at a recorded batch size."""
        return self._costs[batch_size][0]

    def peak_memory_bytes(self, batch_size: int) -> int:
        """The peak memory in bytes at a recorded batch size."""
        return self._costs[batch_size][1]

    @cached_property
    def _costs(self) -> dict[int, tuple[float, int]]:
        costs: dict[int, tuple[float, int]] = {}
        longest: dict[int, int] = {}
        for (size, _, _), run in self.runs.items():
            n_epochs = len(run.train_seconds)
            if n_epochs > longest.get(size, 0):
                longest[size] = n_epochs
                costs[size] = run.train_seconds[-1] / n_epochs, run.peak_memory_bytes
        return costs


def read_table(path: str | Path) -> Table:
    """Read a CSV table, also a compressed one (`.csv.gz`).

    Raises:
        ObjectiveError: unreadable, too large once unpacked, columns missing, and with the line's
            number: no number, out of range, a duplicate, an epoch out of order, time that runs
            backwards.
    """
    path = Path(path)
    try:
        with opened(path) as stream:
            return _read(stream, path.name)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ObjectiveError(f"cannot read the table {path}: {error}") from error


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """The table as text."""
    if path.suffix == ".gz":
        with path.open("rb") as packed:
            yield io.TextIOWrapper(unpacked(packed, path.name), newline="")
    else:
        with path.open(newline="") as stream:
            yield stream


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table, checked by itself."""

    task: str
    optimizer: str
    key: Key
    epoch: int
    train_loss: float
    val_accuracy: float
    train_seconds: float
    peak_memory_bytes: int


def rows_of(stream: TextIO, name: str) -> Iterator[tuple[int, Row]]:
    """Line numbers and rows.

    Raises:
        ObjectiveError: see `read_table`.
    """
    reader = csv.DictReader(stream)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ObjectiveError(
            f"{name} line 1 lacks the columns {', '.join(missing)}: a table of training curves "
            f"has {', '.join(COLUMNS)}"
        )
    for cells in reader:
        try:
            yield reader.line_num, _row(cells)
        except ValueError as error:
            raise ObjectiveError(f"{name} line {reader.line_num}: {error}") from None


def _row(cells: dict[str, str | None]) -> Row:
    def number(column: str, low: float, *, nan: bool = False) -> float:
        text = cells[column]
        try:
            value = float(text or "")
        except ValueError:
            raise ValueError(f"{column} is {text!r}, wanted a number") from None
        if not (nan and not math.isfinite(value)) and not low <= value < math.inf:
            at_least = f" of at least {low:g}" if low > -math.inf else ""
            raise ValueError(f"{column} is {text}, wanted a number{at_least}")
        return value

    def whole(column: str, low: int) -> int:
        value = number(column, low)
        if value != int(value):
            raise ValueError(f"{column} is {cells[column]}, wanted a whole number")
        return int(value)

    rate, seconds = number("learning_rate", 0.0), number("train_seconds", 0.0)
    for name, value in (("learning_rate", rate), ("train_seconds", seconds)):
        if value == 0.0:
            raise ValueError(f"{name} is 0, wanted a number above 0")
    return Row(
        task=cells["task"] or "",
        optimizer=cells["optimizer"] or "",
        key=(whole("batch_size", 1), rate, whole("seed", 0)),
        epoch=whole("epoch", 1),
        train_loss=number("train_loss", -math.inf, nan=True),
        val_accuracy=number("val_accuracy", -math.inf, nan=True),
        train_seconds=seconds,
        peak_memory_bytes=whole("peak_memory_bytes", 0),
    )


def _read(stream: TextIO, name: str) -> Table:
    found: dict[Key, list[Row]] = {}
    first: Row | None = None
    for line, row in rows_of(stream, name):
        first = first or row
        if (row.task, row.optimizer) != (first.task, first.optimizer):
            raise ObjectiveError(
                f"{name} line {line}: {row.task} with {row.optimizer} after {first.task} with "
                f"{first.optimizer}: one table holds one task and optimizer"
            )
        before = found.setdefault(row.key, [])
        _check_follows(before, row, f"{name} line {line}")
        before.append(row)
    if first is None:
        raise ObjectiveError(f"{name} holds no runs")
    runs = {key: _run(key, rows) for key, rows in found.items()}
    return Table(task=first.task, optimizer=first.optimizer, runs=runs)


def _check_follows(before: list[Row], row: Row, where: str) -> None:
    size, rate, seed = row.key
    run = f"batch size {size}, learning rate {rate:g}, seed {seed}"
    if row.epoch <= len(before):
        raise ObjectiveError(f"{where}: epoch {row.epoch} of {run} is there twice")
    if row.epoch != len(before) + 1:
        raise ObjectiveError(f"{where}: epoch {row.epoch} of {run} follows epoch {len(before)}")
    if before and row.train_seconds < before[-1].train_seconds:
        raise ObjectiveError(
            f"{where}: train_seconds falls from {before[-1].train_seconds:g} to "
            f"{row.train_seconds:g}, wanted seconds since the start of the run"
        )


def _run(key: Key, rows: list[Row]) -> RecordedRun:
    size, rate, seed = key
    return RecordedRun(
        batch_size=size,
        learning_rate=rate,
        seed=seed,
        train_loss=tuple(row.train_loss for row in rows),
        val_accuracy=tuple(row.val_accuracy for row in rows),
        train_seconds=tuple(row.train_seconds for row in rows),
        peak_memory_bytes=max(row.peak_memory_bytes for row in rows),
    )
