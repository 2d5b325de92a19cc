"""The grids of Step Law (arXiv:2503.04715): learning rate x batch size, the final loss of one run.

`data/dense_lr_bs_loss.csv` and `data/moe_lr_bs_loss.csv` of https://github.com/step-law/steplaw.
They come without a licence, so none of them is kept here. A grid is one model, trained for one
number of tokens D; its loss is the smoothed one, at the last step.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from batchfront.study.errors import StudyError

LEARNING_RATE, BATCH_SIZE, LOSS = "lr", "bs", "smooth loss"
NAMES = {"learning_rate": LEARNING_RATE, "batch_size": BATCH_SIZE, "val_loss": LOSS}
MODEL = ("moe_name", "N")  # what tells the models of a file apart: the first that it has
FILES = ("dense_lr_bs_loss.csv", "moe_lr_bs_loss.csv")
Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One model and number of tokens: a run at each batch size and learning rate."""

    name: str
    rows: list[Row]  # as they stand in the file

    @cached_property
    def losses(self) -> dict[tuple[int, float], float]:
        """The final loss by batch size and learning rate."""
        return {
            (int(row[BATCH_SIZE]), float(row[LEARNING_RATE])): float(row[LOSS]) for row in self.rows
        }

    @cached_property
    def best(self) -> dict[int, tuple[float, float]]:
        """The least loss of each batch size, and its learning rate."""
        found: dict[int, tuple[float, float]] = {}
        for (size, rate), loss in self.losses.items():
            found[size] = min(found.get(size, (loss, rate)), (loss, rate))
        return dict(sorted(found.items()))

    @property
    def least(self) -> float:
        """The least loss of all."""
        return min(loss for loss, _ in self.best.values())

    def halves(self) -> tuple[Grid, Grid]:
        """Every second run, as on a chessboard, and the others."""
        sizes = list(self.best)
        rates = sorted({rate for _, rate in self.losses})
        parts: tuple[list[Row], list[Row]] = ([], [])
        for row, (size, rate) in zip(self.rows, self.losses, strict=True):
            parts[(sizes.index(size) + rates.index(rate)) % 2].append(row)
        return (Grid(name=self.name, rows=parts[0]), Grid(name=self.name, rows=parts[1]))


def grids(where: Iterable[Path]) -> Iterator[Grid]:
    """The grids of files, or of clones of the repository.

    Raises:
        StudyError: a folder without the files, or a file without the columns.
    """
    for path in where:
        for file in _files(path):
            with file.open(newline="") as opened:
                rows = list(csv.DictReader(opened))
            yield from _grids(rows, file)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [file for name in FILES for file in (path / name, path / "data" / name)]
    found = [file for file in found if file.is_file()]
    if not found:
        raise StudyError(f"{path} holds no {' or '.join(FILES)}: name the files, or a clone")
    return found


def _grids(rows: list[Row], file: Path) -> Iterator[Grid]:
    known = rows[0] if rows else {}
    model = next((name for name in MODEL if name in known), "N")
    missing = [n for n in (*NAMES.values(), "D", model) if n not in known]
    if missing:
        raise StudyError(f"{file.name} has no column {missing[0]!r}: is it one of {FILES}?")
    parts: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        parts.setdefault((row[model], float(row["D"])), []).append(row)
    kind = file.name.partition("_")[0]
    for (name, tokens), some in sorted(parts.items()):
        size = name if model != "N" else f"{float(name) / 1e6:.0f}M"
        yield Grid(name=f"{kind} {size} {tokens / 1e9:g}B", rows=some)
