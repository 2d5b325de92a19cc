"""Tables of runs that were recorded elsewhere: one row a run, or one row an epoch.

Read whole and checked before anything is made of them; errors name the line. The stricter tables
that a replay needs are read by `batchfront.objectives.curves.table`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batchfront.objectives.curves.columns import (
    KNOWN,
    METRICS,
    NEEDED,
    NUMBERS,
    OUTCOMES,
    WORDS,
    check_header,
    nearly,
    verdict_of,
)
from batchfront.objectives.curves.unpack import unpacked
from batchfront.objectives.measurement import TO_TARGET, ObjectiveError, Verdict


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line, checked by itself. What is blank is absent."""

    line: int
    numbers: Mapping[str, float]
    words: Mapping[str, str]
    others: Mapping[str, str]  # columns that mean nothing to us
    verdict: Verdict | None

    @property
    def run(self) -> str:
        """Which run it belongs to, in words."""
        at = self.numbers
        seed = f", seed {at['seed']:g}" if "seed" in at else ""
        return f"batch size {at['batch_size']:g}, learning rate {at['learning_rate']:g}{seed}"


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
            return max((r.numbers[name] for r in self.rows if name in r.numbers), default=None)
        value = self.last.numbers.get(name, math.nan)
        return value if math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """All runs of a file."""

    file: str  # its name
    digest: str
    task: str
    optimizer: str
    metric: str | None  # its name in a study; the column may be called val_accuracy for R2
    column: str | None  # of the metric
    objectives: tuple[str, ...]  # columns, the metric's as in the file
    epochs: int | None  # of a curve, or planned; None where unknown or not the same for all
    curves: bool  # one row an epoch
    others: tuple[str, ...]  # columns that mean nothing to us
    nearly: tuple[tuple[str, str], ...]  # of these, what looks like a column we know
    runs: tuple[Recording, ...]


def read_recordings(path: Path) -> Recordings:
    """Read and check a CSV file, also a compressed one (`.csv.gz`).

    Raises:
        ObjectiveError: unreadable, too large once unpacked, or malformed, with the line's number.
    """
    try:
        data = path.read_bytes()
        text = unpacked(io.BytesIO(data), path.name).read() if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise ObjectiveError(f"cannot read the table {path}: {error}") from error
    rows = _rows(_decoded(text, path.name), path.name)
    if not rows:
        raise ObjectiveError(f"{path.name} holds no runs")
    digest = hashlib.sha256(data).hexdigest()[:16]
    return _Reader(path.name, rows).recordings(digest)


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")  # spreadsheets begin their files with a mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ObjectiveError(f"{name} line {line}: not UTF-8, save the file as such") from None


def _rows(text: str, name: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        check_header(header)
        return [_row(reader.line_num, header, cells) for cells in reader if cells]
    except (ValueError, csv.Error) as error:
        line = max(reader.line_num, 1)
        raise ObjectiveError(f"{name} line {line}: {error}") from None


def _row(line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells under {len(header)} columns")
    filled = {k: v.strip() for k, v in zip(header, cells, strict=True) if v.strip()}
    needed = (*NEEDED, "epoch") if "epoch" in header else NEEDED
    for name in needed:
        if name not in filled:
            raise ValueError(f"{name} is blank, wanted {NUMBERS[name]}")
    return Row(
        line=line,
        numbers={k: NUMBERS[k].read(k, v) for k, v in filled.items() if k in NUMBERS},
        words={k: v for k, v in filled.items() if k in WORDS},
        others={k: v for k, v in filled.items() if k not in KNOWN},
        verdict=verdict_of(filled.get("verdict", ""), filled.get("diverged", "")),
    )


Key = tuple[float, float, float | None]


class _Reader:
    """A reader of what one file's rows say together."""

    def __init__(self, name: str, rows: list[Row]) -> None:
        self._name = name
        self._rows = rows
        self._columns = {column for row in rows for column in row.numbers}
        self._curves = "epoch" in self._columns
        self._objectives = _objectives(self._columns)

    def recordings(self, digest: str) -> Recordings:
        if not self._objectives:
            raise ObjectiveError(f"{self._name}: all outcomes are blank")
        self._check_one_task()
        runs = self._grouped() if self._curves else self._single()
        epochs = self._epochs(runs)
        column = next((name for name in self._objectives if name in METRICS), None)
        others = tuple(dict.fromkeys(name for row in self._rows for name in row.others))
        first = self._rows[0].words
        return Recordings(
            file=self._name,
            digest=digest,
            task=first.get("task", self._name),
            optimizer=first.get("optimizer", ""),
            metric=column and self._metric(column),
            column=column,
            objectives=self._objectives,
            epochs=epochs,
            curves=self._curves,
            others=others,
            nearly=tuple(nearly([*self._columns, *others])),
            runs=tuple(self._judged(rows, epochs) for rows in runs),
        )

    def _fail(self, row: Row, words: str) -> ObjectiveError:
        return ObjectiveError(f"{self._name} line {row.line}: {words}")

    def _check_one_task(self) -> None:
        first = self._rows[0]
        for row in self._rows:
            for column in ("task", "optimizer"):
                found, before = row.words.get(column), first.words.get(column)
                if found != before:
                    raise self._fail(
                        row,
                        f"{column} is {found or 'blank'} after {before or 'blank'}: import each "
                        "as a study of its own",
                    )

    def _single(self) -> list[list[Row]]:
        """Every row is a run; a seed tells repetitions apart, where there is one."""
        seen: dict[Key, Row] = {}
        for row in self._rows:
            if "seed" not in row.numbers:
                continue
            before = seen.setdefault(_key(row), row)
            if before is not row:
                raise self._fail(
                    row,
                    f"{row.run} is there twice, first on line {before.line}: repetitions need "
                    "seeds of their own, or no column seed",
                )
        return [[row] for row in self._rows]

    def _grouped(self) -> list[list[Row]]:
        """Rows of an epoch each, joined; without a seed every epoch 1 begins another run."""
        latest: dict[Key, list[Row]] = {}
        runs: list[list[Row]] = []
        for row in self._rows:
            key = _key(row)
            if key not in latest or (row.numbers["epoch"] == 1 and "seed" not in row.numbers):
                latest[key] = []
                runs.append(latest[key])
            self._check_follows(latest[key], row)
            latest[key].append(row)
        return runs

    def _check_follows(self, before: list[Row], row: Row) -> None:
        epoch = int(row.numbers["epoch"])
        if epoch <= len(before):
            raise self._fail(row, f"epoch {epoch} of {row.run} is there twice")
        if epoch != len(before) + 1:
            advice = "" if before else "; planned epochs of a whole run go into a column epochs"
            raise self._fail(row, f"epoch {epoch} of {row.run} follows epoch {len(before)}{advice}")
        last = before[-1].numbers.get("train_seconds", 0.0) if before else 0.0
        seconds = row.numbers.get("train_seconds", math.inf)
        if seconds < last:
            raise self._fail(
                row,
                f"train_seconds falls from {last:g} to {seconds:g}, wanted seconds since the start "
                "of the run",
            )

    def _epochs(self, runs: list[list[Row]]) -> int | None:
        if self._curves:
            return max(map(len, runs))
        planned = {row.numbers.get("epochs") for row in self._rows}
        (only, *rest) = planned
        return None if rest or only is None else int(only)

    def _metric(self, column: str) -> str:
        """R2 where any value is negative: an accuracy never is."""
        return "val_r2" if any(row.numbers.get(column, 0) < 0 for row in self._rows) else column

    def _judged(self, rows: list[Row], epochs: int | None) -> Recording:
        """What became of a run: what the file says, or else what its numbers say."""
        last = rows[-1]
        marked = last.verdict or Verdict.COMPLETED
        if marked is not Verdict.COMPLETED:
            return _stopped(rows, marked, f"recorded as {marked.value}")
        for n, row in enumerate(rows, 1):
            for name in (*METRICS, "train_loss"):
                value = row.numbers.get(name, 0.0)
                if not math.isfinite(value):
                    after = f" after epoch {n}" if self._curves else ""
                    why = f"{name} was recorded as {value:g}{after}"
                    return _stopped(rows[:n], Verdict.NON_FINITE, why)
        if self._curves and epochs is not None and len(rows) < epochs:
            raise self._fail(
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
            for row in rows if name in METRICS else rows[-1:]:  # a curve has no gaps
                if name not in row.numbers:
                    raise self._fail(
                        row,
                        f"{name} is blank, wanted {NUMBERS[name]}, as for the other runs, or no "
                        "such column, or a verdict that says why",
                    )
        return Recording(rows=tuple(rows), verdict=Verdict.COMPLETED, reason="")


def _key(row: Row) -> Key:
    return row.numbers["batch_size"], row.numbers["learning_rate"], row.numbers.get("seed")


def _stopped(rows: list[Row], verdict: Verdict, reason: str) -> Recording:
    return Recording(rows=tuple(rows), verdict=verdict, reason=reason)


def _objectives(columns: set[str]) -> tuple[str, ...]:
    """The metric, or else what it took to reach a target, or else the loss; then what it cost."""
    held = [name for name in OUTCOMES if name in columns]
    for first in (METRICS, TO_TARGET, ("train_loss",)):
        found = [name for name in held if name in first]
        if found:
            break
    return tuple(found + [n for n in held if n in ("train_seconds", "peak_memory_bytes")])
