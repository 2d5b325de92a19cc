"""Rows of recorded runs, one a run or one an epoch: the one way in for replays and imports.

Read whole and checked before anything is made of them; errors name the line.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchfront.objectives.curves.columns import (
    METRICS,
    NEEDED,
    NUMBERS,
    WORDS,
    check_header,
    number_of,
    verdict_of,
)
from batchfront.objectives.curves.unpack import unpacked
from batchfront.objectives.files import read_file
from batchfront.objectives.measurement import ObjectiveError, Verdict
from batchfront.objectives.metric import Metric
from batchfront.objectives.number import Number

BLANK = " \t\r\n\xa0\ufeff\u200b"  # around the names of columns; some are invisible
HARDLY = 0.1  # of the first epoch's seconds: the others take no less
SINCE_THE_START = (
    "wanted seconds since the start of the run: add up those of its epochs, and leave out what is "
    "not training, such as compiling"
)

Key = tuple[int, float, int | None]  # batch size, learning rate, seed where there is one


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line, checked by itself. What is blank is absent."""

    line: int
    numbers: Mapping[str, float]
    words: Mapping[str, str]
    others: Mapping[str, str]  # columns that mean nothing to us
    verdict: Verdict | None

    @property
    def key(self) -> Key:
        """Which run it belongs to."""
        at = self.numbers
        seed = at.get("seed")
        return int(at["batch_size"]), at["learning_rate"], None if seed is None else int(seed)

    @property
    def run(self) -> str:
        """The key in words."""
        size, rate, seed = self.key
        words = f"batch size {size}, learning rate {rate:g}"
        return words if seed is None else f"{words}, seed {seed}"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """All rows of a file, of one task with one optimizer."""

    file: str  # its name
    digest: str
    rows: tuple[Row, ...]  # at least one
    metrics: tuple[str, ...] = METRICS  # columns that may be the metric

    def error(self, row: Row, words: str) -> ObjectiveError:
        """What is wrong with a row among the others."""
        return ObjectiveError(f"{self.file} line {row.line}: {words}")

    def word(self, column: str, default: str = "") -> str:
        """The task or the optimizer."""
        return self.rows[0].words.get(column, default)

    def curves(self) -> list[list[Row]]:
        """Rows of an epoch each, joined; without a seed every epoch 1 begins another run.

        Raises:
            ObjectiveError: an epoch out of order, or seconds that are not since the start.
        """
        latest: dict[Key, list[Row]] = {}
        runs: list[list[Row]] = []
        for row in self.rows:
            key = row.key
            if key not in latest or (row.numbers["epoch"] == 1 and key[-1] is None):
                latest[key] = []
                runs.append(latest[key])
            self._check_follows(latest[key], row)
            latest[key].append(row)
        self._check_seconds_add_up(runs)
        return runs

    def _check_follows(self, before: list[Row], row: Row) -> None:
        epoch = int(row.numbers["epoch"])
        if epoch <= len(before):
            raise self.error(
                row,
                f"epoch {epoch} of {row.run} is there twice, wanted one row with all that was "
                "measured in it, and seeds that tell repetitions apart",
            )
        if epoch != len(before) + 1:
            advice = "" if before else self._how_it_begins(row)
            raise self.error(row, f"epoch {epoch} of {row.run} follows epoch {len(before)}{advice}")
        last = before[-1].numbers.get("train_seconds", 0.0) if before else 0.0
        seconds = row.numbers.get("train_seconds", last)
        if seconds < last:
            raise self.error(
                row, f"train_seconds falls from {last:g} to {seconds:g}, {SINCE_THE_START}"
            )

    def _how_it_begins(self, row: Row) -> str:
        """What to do about a curve without its first epoch."""
        above = self.rows[max(0, self.rows.index(row) - 1)]
        if above.key[::2] == row.key[::2] and above.numbers["epoch"] == row.numbers["epoch"] - 1:
            return ": all rows of a run have the learning rate that it began with"
        return ": planned epochs of a whole run go into a column epochs"

    def _check_seconds_add_up(self, runs: list[list[Row]]) -> None:
        """Seconds of each epoch may rise, too, but never by nearly as much as the first took.

        In some runs that also comes of a long first epoch, which compiled something.
        """
        suspects = []
        for run in runs:
            first, last = (row.numbers.get("train_seconds") for row in (run[0], run[-1]))
            if len(run) == 1 or first is None or last is None:
                continue
            if last - first >= HARDLY * first * (len(run) - 1):
                return
            suspects.append((run, first, last))
        for run, first, last in suspects[:1]:
            raise self.error(
                run[-1],
                f"train_seconds is {first:g} after epoch 1 and {last:g} after epoch {len(run)}, "
                f"{SINCE_THE_START}",
            )


def read_rows(path: Path, *, needed: Sequence[str] = NEEDED, metric: Metric | None = None) -> Sheet:
    """Read and check a CSV file, also a compressed one (`.csv.gz`).

    `needed` are its columns, and `metric` is the column that holds it, where that was said.

    Raises:
        ObjectiveError: unreadable or malformed, with the line's number.
    """
    try:
        data = read_file(path)
        text = _decoded(_unpacked(path, data), path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise ObjectiveError(f"cannot read the table {path}: {_why(error)}") from error
    rows = _parsed(text, path.name, needed, metric)
    if not rows:
        raise ObjectiveError(f"{path.name} holds no runs")
    digest = hashlib.sha256(data).hexdigest()[:16]
    metrics = METRICS if metric is None else (metric.name,)
    sheet = Sheet(file=path.name, digest=digest, rows=tuple(rows), metrics=metrics)
    _check_one_task(sheet)
    return sheet


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _unpacked(path: Path, data: bytes) -> bytes:
    return unpacked(io.BytesIO(data), path.name).read() if path.suffix == ".gz" else data


def _decoded(data: bytes, name: str) -> str:
    wrong = data.find(b"\0")  # every other byte of UTF-16, which may be UTF-8 all the same
    if wrong < 0:
        try:
            return data.decode("utf-8-sig")  # spreadsheets begin their files with a mark
        except UnicodeDecodeError as error:
            wrong = error.start
    line = data.count(b"\n", 0, wrong) + 1
    raise ObjectiveError(f"{name} line {line}: not UTF-8, save the file as such")


def _parsed(text: str, name: str, needed: Sequence[str], metric: Metric | None) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip(BLANK) for cell in next(filter(None, reader), [])]
        check_header(header, needed, metric)
        own = {} if metric is None else {metric.name: number_of(metric)}
        row = _row_of(header, needed, NUMBERS | own)
        return [row(reader.line_num, cells) for cells in reader if cells]
    except (ValueError, csv.Error) as error:
        line = max(reader.line_num, 1)
        raise ObjectiveError(f"{name} line {line}: {error}") from None


def _row_of(
    header: list[str], needed: Iterable[str], kinds: Mapping[str, Number]
) -> Callable[[int, list[str]], Row]:
    """What makes a row of a line's number and cells."""
    numbers = [(at, name, kinds[name]) for at, name in enumerate(header) if name in kinds]
    words = [(at, name) for at, name in enumerate(header) if name in WORDS]
    known = {*kinds, *WORDS}
    others = [(at, name) for at, name in enumerate(header) if name not in known]
    filled = [n for n in (*needed, "epoch") if n in header and n in kinds]

    def row(line: int, cells: list[str]) -> Row:
        if len(cells) != len(header):
            raise ValueError(f"{len(cells)} cells under {len(header)} columns")
        cells = [cell.strip() for cell in cells]
        read = {name: kind.read(name, cells[at]) for at, name, kind in numbers if cells[at]}
        for name in filled:
            if name not in read:
                raise ValueError(f"{name} is blank, wanted {kinds[name]}")
        said = {name: cells[at] for at, name in words if cells[at]}
        return Row(
            line=line,
            numbers=read,
            words=said,
            others={name: cells[at] for at, name in others if cells[at]},
            verdict=verdict_of(said.get("verdict", ""), said.get("diverged", "")),
        )

    return row


def _check_one_task(sheet: Sheet) -> None:
    for column in ("task", "optimizer"):
        before = sheet.word(column)
        for row in sheet.rows:
            found = row.words.get(column, "")
            if found != before:
                raise sheet.error(
                    row,
                    f"{column} is {found or 'blank'} after {before or 'blank'}, wanted one task "
                    "with one optimizer: divide the file",
                )
