"""Tables of the front and of studies, of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.study.show import counted, human_bytes, plain_table, said, short
from batchfront.study.trials.attributes import (
    NOT_SUGGESTED,
    WAITS,
    asked_row,
    measured_names,
    suggested_params,
    trial_row,
)
from batchfront.study.trials.repeats import repeats_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from rich.table import Table

WIDTH = 100
NOTED = (WAITS, NOT_SUGGESTED)  # of a trial, in its row for machines
BETWEEN = 3  # columns of the terminal that rich puts around a cell
ASKED = ("batch_size", "learning_rate")
SHORTER = {
    "batch_size": "size",
    "learning_rate": "rate",
    "train_seconds": "time",
    "peak_memory_bytes": "memory",
}


def front_table(
    front: Sequence[FrozenTrial],
    metric_names: Sequence[str],
    *,
    hardware: str = "",
    width: int = WIDTH,
    among: Sequence[FrozenTrial] = (),
) -> Table:
    """The Pareto front, one trial a line.

    Args:
        width: columns of the terminal.
        among: all trials, for the spread of repeated ones.
    """
    columns, left_out = _fitting(
        _front_columns(front, metric_names, among), suggested_params(front), width
    )
    where = f" on {hardware}" if hardware else ""
    title = f"Pareto front{where}: {counted(len(front), 'trial')}"
    table = plain_table(title, [(head, "right") for head, _ in columns])
    for cells in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*cells)
    if left_out:
        table.caption = f"no room for {', '.join(left_out)}: front --csv has all"
        table.caption_justify = "left"
    return table


def _front_columns(
    front: Sequence[FrozenTrial], metric_names: Sequence[str], among: Sequence[FrozenTrial]
) -> dict[str, list[str]]:
    """The cells of each column by its name; the seeds where a setting was repeated."""
    own, shown = suggested_params(front), measured_names(among or front, metric_names)
    names = ["trial", "batch_size", "learning_rate", *own, *shown]
    rows = _cells(front, metric_names, shown)
    columns = {name: [row[n] for row in rows] for n, name in enumerate(names)}
    repeats = repeats_of(front, among)
    if any(one["n_seeds"] > 1 for one in repeats):
        columns["seeds"] = [spread(metric_names[0], one) for one in repeats]
    return columns


def _fitting(
    columns: Mapping[str, list[str]], own: Sequence[str], width: int
) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """The columns with headings as long as there is room for, and which of them had to go.

    Headings first wrap at spaces, then get shorter; then the task's own parameters go, from the
    last: no word is broken.
    """
    plain = {name: _spaced(name) if name in ASKED else name for name in columns}
    short = {name: SHORTER.get(name, _spaced(name)) for name in columns}
    for heads, is_whole in ((plain, True), ({n: _spaced(n) for n in columns}, False)):
        found = [
            (_wrapped(heads[name], columns[name], is_whole), columns[name]) for name in columns
        ]
        if _width(found) < width:
            return found, []
    for n_left_out in range(len(own) + 1):
        left_out = list(own[len(own) - n_left_out :])
        kept = [name for name in columns if name not in left_out]
        found = [(_wrapped(short[name], columns[name], False), columns[name]) for name in kept]
        if _width(found) < width:
            break
    return found, left_out


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _wrapped(head: str, cells: Sequence[str], is_whole: bool) -> str:
    """The heading in lines no wider than its longest word, or than the cells."""
    if is_whole:
        return head
    widest = max(map(len, [*head.split(), *cells]))
    return "\n".join(textwrap.wrap(head, widest))


def _width(columns: Sequence[tuple[str, Sequence[str]]]) -> int:
    """The columns of the terminal that they take."""
    return sum(max(map(len, [*head.split("\n"), *cells])) + BETWEEN for head, cells in columns)


def spread(name: str, repeats: Mapping[str, Any]) -> str:
    """`median of 5, 0.9660 to 0.9750`: the setting's, where it was repeated."""
    if repeats["n_seeds"] == 1:
        return "1"
    low, high = said(name, repeats["lowest"]), said(name, repeats["highest"])
    return f"median of {repeats['n_seeds']}, {low} to {high}"


def _cells(
    front: Sequence[FrozenTrial], metric_names: Sequence[str], shown: Sequence[str]
) -> list[list[str]]:
    """A row of text for each trial: number, size, rate, the task's own, objectives `shown`."""
    own = suggested_params(front)
    rows = [asked_row(trial, metric_names) for trial in front]
    return [
        [
            str(row["number"]),
            str(row["batch_size"]),
            f"{row['learning_rate']:.3g}",
            *(short(row.get(name)) for name in own),
            *(said(name, row[name]) for name in shown),
        ]
        for row in rows
    ]


def front_rows(
    fronts: Mapping[str, Sequence[FrozenTrial]],
    metric_names: Sequence[str],
    among: Sequence[FrozenTrial] = (),
) -> list[dict[str, Any]]:
    """The rows of the fronts for machines; each names its hardware where there is more than one.

    `seeds` says of which trials of a repeated setting one is the median, and how they spread.
    """
    return [
        {
            **trial_row(trial, metric_names),
            **({"seeds": repeats} if repeats["n_seeds"] > 1 else {}),
            **{name: trial.user_attrs[name] for name in NOTED if name in trial.user_attrs},
            **({"hardware": hardware} if len(fronts) > 1 else {}),
        }
        for hardware, trials in fronts.items()
        for trial, repeats in zip(trials, repeats_of(trials, among), strict=True)
    ]


def studies_table(rows: Sequence[dict[str, Any]]) -> Table:
    """`ls`: one study a line."""
    paused = ("n_paused",) if any(row["n_paused"] for row in rows) else ()  # some of n_pruned
    keys = ("n_trials", "n_complete", "n_pruned", *paused, "n_fail", "n_running")
    columns = [("study_name", "left"), *((key, "right") for key in (*keys, "checkpoints"))]
    table = plain_table("", columns)
    for row in rows:
        kept = row["checkpoint_bytes"]
        table.add_row(
            row["study_name"],
            *(str(row[key]) for key in keys),
            "-" if kept is None else human_bytes(kept),
        )
    return table
