"""Tables of the front and of studies, of at most 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.study.show import counted, human_bytes, plain_table, said, short
from batchfront.study.trials.attributes import (
    WAITS,
    own_params,
    trial_row,
)
from batchfront.study.trials.repeats import repeats_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from rich.table import Table

WIDTH = 100
NARROW = 90  # columns that the front takes with the names of its objectives on one line
NARROWEST = 76  # and with each word of a name whole


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
    own = own_params(front)
    asked = ["size", "rate"] if width < NARROWEST else ["batch size", "learning rate"]
    names = ["trial", *asked, *own, *metric_names]
    if own or width < NARROW:  # names wrap at spaces
        names = [name.replace("_", " ") for name in names]
    where = f" on {hardware}" if hardware else ""
    title = f"Pareto front{where}: {counted(len(front), 'trial')}"
    repeats = repeats_of(front, among)
    several = any(one["n_seeds"] > 1 for one in repeats)
    table = plain_table(title, [(n, "right") for n in [*names, *(["seeds"] if several else [])]])
    for cells, one in zip(front_cells(front, metric_names), repeats, strict=True):
        table.add_row(*cells, *([spread(metric_names[0], one)] if several else []))
    return table


def spread(name: str, repeats: Mapping[str, Any]) -> str:
    """`median of 5, 0.9660 to 0.9750`: the setting's, where it was repeated."""
    if repeats["n_seeds"] == 1:
        return "1"
    low, high = said(name, repeats["lowest"]), said(name, repeats["highest"])
    return f"median of {repeats['n_seeds']}, {low} to {high}"


def front_cells(front: Sequence[FrozenTrial], metric_names: Sequence[str]) -> list[list[str]]:
    """A row of text for each trial: number, batch size, rate, the task's own, objectives."""
    own = own_params(front)
    rows = [trial_row(trial, metric_names) for trial in front]
    return [
        [
            str(row["number"]),
            str(row["batch_size"]),
            f"{row['learning_rate']:.3g}",
            *(short(row.get(name)) for name in own),
            *(said(name, row[name]) for name in metric_names),
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
            **{name: trial.user_attrs[name] for name in [WAITS] if name in trial.user_attrs},
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
