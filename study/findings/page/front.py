"""The front as a table of one unit a column, and its projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.overview.tables import spread
from batchfront.study.findings.page.units import UNITS, unit_of
from batchfront.study.show import said, short, short_number
from batchfront.study.trials.attributes import asked_row, measured_names, suggested_params
from batchfront.study.trials.repeats import repeats_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is read, and what is sorted by."""

    text: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class FrontTable:
    """Headings with their units, and rows of cells."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def front_of(
    front: Sequence[FrozenTrial], names: Sequence[str], *, among: Sequence[FrozenTrial] = ()
) -> FrontTable:
    """The table of a front's trials; `among`: all, for the spread of repeated ones."""
    own, shown = suggested_params(front), measured_names(front, names)
    rows = [asked_row(trial, names) for trial in front]
    repeats = repeats_of(front, among)
    several = any(one["n_seeds"] > 1 for one in repeats)
    units = {name: unit_of(name, (row[name] for row in rows)) for name in shown}

    def objective(name: str, value: float) -> Cell:
        text = short_number(value / units[name].size) if name in UNITS else said(name, value)
        return Cell(text=text, value=value)

    return FrontTable(
        head=[
            "trial",
            "batch size",
            "learning rate",
            *own,
            *(u.title for u in units.values()),
            *(["seeds"] if several else []),
        ],
        rows=[
            [
                Cell(text=str(row["number"]), value=row["number"]),
                Cell(text=str(row["batch_size"]), value=row["batch_size"]),
                Cell(text=f"{row['learning_rate']:.3g}", value=row["learning_rate"]),
                *(Cell(text=short(row.get(name)), value=row.get(name, "")) for name in own),
                *(objective(name, row[name]) for name in shown),
                *([Cell(text=spread(names[0], one), value=one["n_seeds"])] if several else []),
            ]
            for row, one in zip(rows, repeats, strict=True)
        ],
    )
