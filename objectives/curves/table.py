"""Tables of recorded training curves as a replay needs them: one row an epoch, no gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from batchfront.objectives.curves.columns import metric_of
from batchfront.objectives.curves.rows import Row, read_rows
from batchfront.objectives.length import UNITS, Length

COLUMNS = (
    "task", "optimizer", "batch_size", "learning_rate", "seed", "epoch", "train_loss",
    "val_accuracy", "train_seconds", "peak_memory_bytes",
)  # fmt: skip

N_TRAIN = "n_train"  # a column of tables of epochs: the examples of one
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
    unit: str = UNITS[0]  # of the runs' length
    amount: int | None = None  # of it; None: as many epochs as points
    n_train: int | None = None  # examples of an epoch, where the table says them

    @cached_property
    def epochs(self) -> int:
        """The number of epochs of the longest run, or of other points of its curve."""
        return max(len(run.train_loss) for run in self.runs.values())

    @property
    def length(self) -> Length:
        """How long the longest run trained."""
        if self.amount is None:
            return Length(amount=self.epochs)
        return Length(unit=self.unit, amount=self.amount, evaluations=self.epochs)

    @cached_property
    def batch_sizes(self) -> list[int]:
        """The batch sizes recorded, ascending."""
        return sorted({size for size, _, _ in self.runs})

    def steps(self, batch_size: int) -> list[int] | None:
        """Optimizer steps between the points of a whole run; None where the table does not say.

        They are those of a batch size that stays what it is.
        """
        length = replace(self.length, n_train=self.n_train)
        try:
            return length.steps([batch_size] * length.points)
        except ValueError:
            return None

    def learning_rates(self, batch_size: int) -> list[float]:
        """The learning rates recorded at `batch_size`, ascending."""
        return self._rates[batch_size]

    def seeds(self, batch_size: int, learning_rate: float) -> list[int]:
        """The seeds recorded at one point of the grid, ascending."""
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
        """val_accuracy, or val_r2."""
        return metric_of("val_accuracy", (v for r in self.runs.values() for v in r.val_accuracy))

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
    sheet = read_rows(Path(path), needed=COLUMNS)
    curves = sheet.curves()
    runs, length = [_run(curve) for curve in curves], length_in(curves)
    return Table(
        n_train=_n_train_in(sheet.rows),
        unit=UNITS[0] if length is None else length.unit,
        amount=None if length is None else length.amount,
        task=sheet.word("task"),
        optimizer=sheet.word("optimizer"),
        runs={(run.batch_size, run.learning_rate, run.seed): run for run in runs},
    )


def length_in(curves: Sequence[Sequence[Row]]) -> Length | None:
    """What a column named after its unit says of the length of runs, at equal shares in each row.

    None where there is none: then the rows are epochs.
    """
    longest = max(curves, key=len)
    for unit in UNITS[1:]:
        cells = [row.others.get(unit, "") for row in longest]
        if not all(cell.isdecimal() and int(cell) > 0 for cell in cells):
            continue
        amount, n = int(cells[-1]), len(cells)
        if all(int(cell) == amount * k // n for k, cell in enumerate(cells, 1)):
            return Length(unit=unit, amount=amount, evaluations=n)
    return None


def _n_train_in(rows: Sequence[Row]) -> int | None:
    """The examples of an epoch, where every row says the same."""
    said = {row.others.get(N_TRAIN, "") for row in rows}
    cell = said.pop() if len(said) == 1 else ""
    return int(cell) or None if cell.isdecimal() else None


def _run(curve: list[Row]) -> RecordedRun:
    def column(name: str) -> tuple[float, ...]:
        return tuple([row.numbers[name] for row in curve])

    first = curve[0].numbers
    return RecordedRun(
        batch_size=int(first["batch_size"]),
        learning_rate=first["learning_rate"],
        seed=int(first["seed"]),
        train_loss=column("train_loss"),
        val_accuracy=column("val_accuracy"),
        train_seconds=column("train_seconds"),
        peak_memory_bytes=int(max(column("peak_memory_bytes"))),
    )
