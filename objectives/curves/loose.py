"""Runs that were recorded elsewhere, with whatever outcomes they have.

The stricter tables that a replay needs are made by `batchfront.objectives.curves.table`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from batchfront.objectives.curves.columns import (
    OUTCOMES,
    metric_of,
    nearly,
    value_as_written,
)
from batchfront.objectives.curves.rows import Key, Row, Sheet, read_rows
from batchfront.objectives.curves.table import length_in
from batchfront.objectives.length import Length
from batchfront.objectives.measurement import TO_TARGET, ObjectiveError, Verdict
from batchfront.objectives.metric import Metric, as_metric


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One run."""

    rows: tuple[Row, ...]  # one an epoch, or just one
    verdict: Verdict
    reason: str  # "" for a completed run

    @property
    def last(self) -> Row:
        """Outcomes are those of the last epoch."""
        return self.rows[-1]

    def outcome(self, name: str) -> float | None:
        """The last value, or for memory the highest of all epochs; None if absent or not finite."""
        if name == "peak_memory_bytes":
            held = [float(row.numbers[name]) for row in self.rows if name in row.numbers]
            return max(held, default=None)
        value = self.last.numbers.get(name, math.nan)
        return value if math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """All runs of a file."""

    file: str  # its name
    digest: str
    task: str
    optimizer: str
    metric: Metric | None  # the column may be called val_accuracy for R2
    column: str | None  # of the metric
    objectives: tuple[str, ...]  # columns, the metric's as in the file
    epochs: int | None  # of a curve, or planned; None where unknown or not the same for all
    curves: bool  # one row an epoch
    length: Length | None  # of runs whose rows are other points than epochs
    others: tuple[str, ...]  # columns that mean nothing to us
    numeric: frozenset[str]  # of these, where numbers print as they were written
    nearly: tuple[tuple[str, str], ...]  # of these, what looks like a column we know
    runs: tuple[Recording, ...]


def read_recordings(path: Path, metric: Metric | None = None) -> Recordings:
    """Read and check a CSV file, also a compressed one (`.csv.gz`).

    `metric`: the one in a column of that name; None: the usual ones are looked for.

    Raises:
        ObjectiveError: unreadable, too large once unpacked, or malformed, with the line's number.
    """
    return _Reader(read_rows(path, metric=metric), metric).recordings()


class _Reader:
    """A reader of what one file's rows say together."""

    def __init__(self, sheet: Sheet, metric: Metric | None) -> None:
        self._sheet, self._rows, self._metric = sheet, sheet.rows, metric
        self._columns = {column for row in sheet.rows for column in row.numbers}
        self._curves = "epoch" in self._columns
        self._objectives = _objectives(self._columns, sheet.metrics)

    def recordings(self) -> Recordings:
        sheet = self._sheet
        if not self._objectives:
            raise ObjectiveError(f"{sheet.file}: all outcomes are blank")
        runs = sheet.curves() if self._curves else self._single()
        epochs = self._epochs(runs)
        column = next((name for name in self._objectives if name in sheet.metrics), None)
        others = tuple(dict.fromkeys(name for row in sheet.rows for name in row.others))
        return Recordings(
            file=sheet.file,
            digest=sheet.digest,
            task=sheet.word("task", sheet.file),
            optimizer=sheet.word("optimizer"),
            metric=self._metric_of(column),
            column=column,
            objectives=self._objectives,
            epochs=epochs,
            curves=self._curves,
            length=length_in(runs) if self._curves else None,
            others=others,
            numeric=frozenset(name for name in others if self._is_numeric(name)),
            nearly=tuple(nearly([*self._columns, *others])),
            runs=tuple(self._judged(run, epochs) for run in runs),
        )

    def _metric_of(self, column: str | None) -> Metric | None:
        if self._metric is not None or column is None:
            return self._metric
        values = (row.numbers.get(column, 0) for row in self._rows)
        return as_metric(metric_of(column, values))

    def _single(self) -> list[list[Row]]:
        """Every row is a run; a seed tells repetitions apart, where there is one."""
        seen: dict[Key, Row] = {}
        for row in self._rows:
            if "seed" not in row.numbers:
                continue
            before = seen.setdefault(row.key, row)
            if before is not row:
                raise self._sheet.error(
                    row,
                    f"{row.run} is there twice, first on line {before.line}: repetitions need "
                    "seeds of their own, or no column seed",
                )
        return [[row] for row in self._rows]

    def _epochs(self, runs: list[list[Row]]) -> int | None:
        if self._curves:
            return max(map(len, runs))
        planned = {row.numbers.get("epochs") for row in self._rows}
        (only, *rest) = planned
        return None if rest or only is None else int(only)

    def _is_numeric(self, name: str) -> bool:
        """Whether all numbers of a column print as they were written: ids often do not."""
        texts = {row.others[name] for row in self._rows if name in row.others}
        return all(value_as_written(text) is not None for text in texts)

    def _judged(self, rows: list[Row], epochs: int | None) -> Recording:
        """What became of a run: what the file says, or else what its numbers say."""
        last = rows[-1]
        marked = last.verdict or Verdict.COMPLETED
        if marked is not Verdict.COMPLETED:
            return _stopped(rows, marked, f"recorded as {marked.value}")
        for n, row in enumerate(rows, 1):
            for name in (*self._sheet.metrics, "train_loss"):
                value = row.numbers.get(name, 0.0)
                if not math.isfinite(value):
                    after = f" after epoch {n}" if self._curves else ""
                    why = f"{name} was recorded as {value:g}{after}"
                    return _stopped(rows[:n], Verdict.NON_FINITE, why)
        if self._curves and epochs is not None and len(rows) < epochs:
            raise self._sheet.error(
                last,
                f"{last.run} ends after epoch {len(rows)} of {epochs}: say why in a column verdict "
                f"({', '.join(v for v in Verdict if v != Verdict.COMPLETED)}), or import runs of "
                "other lengths as a study of their own",
            )
        if self._objectives[0] in TO_TARGET and not self._arrived(last):
            return _stopped(rows, Verdict.PRUNED, "recorded without reaching the target")
        return self._completed(rows)

    def _arrived(self, row: Row) -> bool:
        names = [name for name in self._objectives if name in TO_TARGET]
        return all(math.isfinite(row.numbers.get(name, math.inf)) for name in names)

    def _completed(self, rows: list[Row]) -> Recording:
        for name in self._objectives:
            for row in rows if name in self._sheet.metrics else rows[-1:]:  # a curve has no gaps
                if name not in row.numbers:
                    raise self._sheet.error(
                        row,
                        f"{name} is blank in a completed run: fill it in, leave out the column, or "
                        "say why in a column verdict",
                    )
        return Recording(rows=tuple(rows), verdict=Verdict.COMPLETED, reason="")


def _stopped(rows: list[Row], verdict: Verdict, reason: str) -> Recording:
    return Recording(rows=tuple(rows), verdict=verdict, reason=reason)


def _objectives(columns: set[str], metrics: tuple[str, ...]) -> tuple[str, ...]:
    """The metric, or else what it took to reach a target, or else the loss; then what it cost."""
    held = [name for name in dict.fromkeys((*metrics, *OUTCOMES)) if name in columns]
    for first in (metrics, TO_TARGET, ("train_loss",)):
        found = [name for name in held if name in first]
        if found:
            break
    return tuple(found + [n for n in held if n in ("train_seconds", "peak_memory_bytes")])
