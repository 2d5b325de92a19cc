"""The answer as a table of batch sizes, as wide as the terminal allows without wrapping a cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from batchfront.study.answer.choice import Answer, SizeAdvice
from batchfront.study.answer.known import Known
from batchfront.study.answer.show import MARK, answer_form, best_rates, expected
from batchfront.study.show import human_bytes, human_seconds, plain_table

if TYPE_CHECKING:
    from rich.table import Table

BETWEEN = 3  # columns of the terminal that rich puts around a cell
SHORTER = {
    "rests on": "runs",
    "rate, interval": "rate",
    "target, epochs": "target",
    "metric, interval": "metric",
}
DROPPED = ("rests on", "rate, interval", "runs", "memory", "target, epochs", "metric, interval")
"""What goes first where there is no room; the shorter form of a column takes its place."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading, and a cell for each size."""

    head: str
    cells: Sequence[str]
    justify: str = "right"

    @property
    def width(self) -> int:
        """The characters of its widest cell, with what is around it."""
        return max(len(text) for text in (self.head, *self.cells)) + BETWEEN


def answer_table(answer: Answer, known: Known, *, width: int) -> Table:
    """One batch size a line; `width`: columns of the terminal."""
    columns = _fitting(_columns(answer, known), width)
    table = plain_table("", [(column.head, column.justify) for column in columns])
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table


def _fitting(columns: dict[str, Column], width: int) -> list[Column]:
    """The columns that there is room for, in their order."""
    shown = [name for name in columns if name not in SHORTER.values()]
    for dropped in filter(columns.__contains__, DROPPED):
        if sum(columns[name].width for name in shown) < width:
            break
        by = [SHORTER[dropped]] if dropped in SHORTER else []
        shown = [one for name in shown for one in (by if name == dropped else [name])]
    return [columns[name] for name in shown]


def _columns(answer: Answer, known: Known) -> dict[str, Column]:
    """All that there are, by name, the shorter forms of some among them."""
    sizes, metric = answer.sizes, known.yardstick.metric.name
    form = answer_form(answer, known)

    def column(head: str, cell: Callable[[SizeAdvice], str], justify: str = "right") -> Column:
        return Column(head=head, cells=[cell(size) for size in sizes], justify=justify)

    found = {
        "size": column("size", lambda size: _marked(size, answer)),
        "rate, interval": column("learning rate", partial(_rate, brackets=True), "left"),
        "rate": column("rate", _rate, "left"),
        "metric, interval": column(metric, lambda size: _metric(size, known, form), "left"),
        "metric": column(metric, lambda size: _metric(size, known, form).partition(" ")[0], "left"),
        "time": column("time", lambda size: _time(size.train_seconds)),
    }
    if any(size.peak_memory_bytes for size in sizes):
        found["memory"] = column("memory", _memory)
    if known.target is not None:
        head = f"to {known.target:g}"
        found["target, epochs"] = column(head, partial(_to_target, epochs=True))
        found["target"] = column(head, _to_target)
    found["rests on"] = column("rests on", lambda size: size.reason or size.evidence, "left")
    found["runs"] = column("runs", lambda size: str(size.n_runs))
    return found


def _metric(size: SizeAdvice, known: Known, form: str) -> str:
    return "" if size.estimate is None else expected(size.estimate, known, form)


def _marked(size: SizeAdvice, answer: Answer) -> str:
    return f"{MARK} {size.batch_size}" if size is answer.recommended else str(size.batch_size)


def _rate(size: SizeAdvice, *, brackets: bool = False) -> str:
    found = size.estimate
    if found is None:
        return "not shown"
    ends = f" ({best_rates(found)})"
    return f"{found.learning_rate:.2g}{ends if brackets else ''}"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else human_seconds(seconds)


def _memory(size: SizeAdvice) -> str:
    return "-" if size.peak_memory_bytes is None else human_bytes(size.peak_memory_bytes)


def _to_target(size: SizeAdvice, *, epochs: bool = False) -> str:
    """`5 epochs, 0.12 s`; `never` where most runs do not get there, `-` where nobody knows."""
    found = size.to_target
    if found is None:
        return "-"
    if math.isinf(found.points):
        return "never"
    parts = [] if found.seconds is None else [human_seconds(found.seconds)]
    if found.epochs is not None and (epochs or not parts):
        parts.insert(0, f"{found.epochs:.3g} epochs")
    return ", ".join(parts) or "-"
