"""Plotly figures of a study. Stored text is escaped before it reaches a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from batchfront.study.show import said, short
from batchfront.study.trials.attributes import (
    VERDICT,
    is_feasible,
    measured_names,
    suggested_params,
    trial_row,
)
from batchfront.study.trials.yardstick import is_minimized

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna.trial import FrozenTrial

Trials = Sequence["FrozenTrial"]
Point = TypeVar("Point")
TITLES = {"train_seconds": "training time (s)", "peak_memory_bytes": "peak memory (bytes)"}
FRONT = "#c2410c"
OTHER = "#94a3b8"
STOPPED = "#111827"
LEARNING_RATE_BINS = 12
MOST_COLUMNS = 24  # of batch sizes
BELOW = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}
"""Where a legend stands: below the title of the axis, however many lines it takes."""
APART = 1.4  # times the size before it: closer marks cannot be read
MOST_DRAWN = 2000
"""Points of one colour; a page of more takes long to open. Fronts, bests and cells are of all."""


def axis_title(name: str) -> str:
    """An objective's name with its unit."""
    words = name.replace("val_", "validation ").replace("r2", "R2").replace("_", " ")
    return TITLES.get(name, words)


def best_per_batch_size(trials: Trials, names: Sequence[str]) -> go.Figure:
    """The best of the first objective at each batch size, over all completed trials."""
    import plotly.graph_objects as go

    feasible = [t for t in trials if is_feasible(t)]
    rows = [trial_row(t, names) for t in feasible]
    best: dict[int, FrozenTrial] = {}
    for trial, row in zip(feasible, rows, strict=True):
        size = row["batch_size"]
        if size not in best or _better(trial.values[0], best[size].values[0], names):
            best[size] = trial
    sizes = sorted(best)
    figure = go.Figure()
    figure.add_scatter(
        x=[row["batch_size"] for row in thinned(rows)],
        y=[t.values[0] for t in thinned(feasible)],
        mode="markers",
        name=legend("completed trials", feasible),
        marker={"color": OTHER, "size": 6},
        text=[label(t, names) for t in thinned(feasible)],
        hoverinfo="text",
    )
    figure.add_scatter(
        x=sizes,
        y=[best[size].values[0] for size in sizes],
        mode="lines+markers",
        name="best",
        marker={"color": FRONT, "size": 8},
        text=[label(best[size], names) for size in sizes],
        hoverinfo="text",
    )
    figure.update_layout(
        title="Best result per batch size",
        xaxis={"title": "batch size", "type": "log", **size_ticks(sizes)},
        yaxis={"title": axis_title(names[0])},
        legend=BELOW,
        height=420,
    )
    return figure


def heat_map(trials: Trials, names: Sequence[str]) -> go.Figure:
    """Best of the first objective per cell; crosses are runs that were stopped."""
    import plotly.graph_objects as go

    rows = [(t, trial_row(t, names)) for t in trials if t.state.name in ("COMPLETE", "PRUNED")]
    figure = go.Figure()
    if rows:
        _add_cells(figure, [(t, row) for t, row in rows if is_feasible(t)], rows, names)
    for name, state, symbol in (("completed", "COMPLETE", "circle"), ("stopped", "PRUNED", "x")):
        ended = [(t, row) for t, row in rows if t.state.name == state]
        if not ended:
            continue
        marker = {
            "symbol": symbol,
            "size": 8,
            "color": STOPPED if state == "PRUNED" else "white",
            "line": {"color": STOPPED, "width": 1},
        }
        _add_marks(figure, ended, names, name=name, marker=marker)
    figure.update_layout(
        showlegend=True,  # also of stopped runs alone
        xaxis={"title": "batch size", **log2_ticks([row["batch_size"] for _, row in rows])},
        yaxis={
            "title": "learning rate",
            **_log10_ticks([row["learning_rate"] for _, row in rows] or [1.0]),
        },
        legend=BELOW,
        height=520,
    )
    return figure


def _add_marks(
    figure: go.Figure, ended: Any, names: Sequence[str], *, name: str, marker: Any
) -> None:
    """A mark where each of these trials lies, or of so many of them."""
    some = thinned(ended)
    figure.add_scatter(
        x=[math.log2(row["batch_size"]) for _, row in some],
        y=[math.log10(row["learning_rate"]) for _, row in some],
        mode="markers",
        name=legend(name, ended),
        marker=marker,
        text=[label(t, names) for t, _ in some],
        hoverinfo="text",
    )


def _log10_ticks(rates: Sequence[float]) -> dict[str, Any]:
    """Ticks of an axis of logarithms: at powers of ten, and between them where there are few."""
    decades = [math.log10(rate) for rate in rates]
    steps = (1, 2, 5) if max(decades) - min(decades) < 1 else (1,)
    powers = range(math.floor(min(decades)), math.ceil(max(decades)) + 1)
    ticks = [power + math.log10(step) for power in powers for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{10.0**d:g}" for d in ticks]}


def _add_cells(figure: go.Figure, feasible: Any, rows: Any, names: Sequence[str]) -> None:
    decades = [math.log10(row["learning_rate"]) for _, row in rows]
    low, high = min(decades), max(decades)
    n_bins = min(LEARNING_RATE_BINS, len(set(decades)))  # no empty rows between those of a grid
    width = (high - low) / n_bins or 1.0
    columns = list(map(math.log2, _told_apart([row["batch_size"] for _, row in rows])))
    cells: list[list[float | None]] = [[None] * len(columns) for _ in range(n_bins)]
    for trial, row in feasible:
        size = math.log2(row["batch_size"])
        x = min(range(len(columns)), key=lambda at: abs(columns[at] - size))
        y = min(int((math.log10(row["learning_rate"]) - low) / width), n_bins - 1)
        best = cells[y][x]
        if best is None or _better(trial.values[0], best, names):
            cells[y][x] = trial.values[0]
    figure.add_heatmap(
        x=columns,
        y=[low + (i + 0.5) * width for i in range(n_bins)],
        z=cells,
        colorscale="Viridis",
        reversescale=is_minimized(names[0], names),  # bright is good
        colorbar=colorbar(axis_title(names[0])),
        hoverinfo="skip",
        name="best per cell",
    )


def colorbar(title: str) -> dict[str, Any]:
    """One above the figure: beside it, it would take half of a phone."""
    return {
        "title": {"text": title, "side": "top"},
        "orientation": "h",
        "y": 1.02,
        "yanchor": "bottom",
        "thickness": 12,
    }


def _better(value: float, than: float, names: Sequence[str]) -> bool:
    """Whether a value of the first objective is better than another."""
    return value < than if is_minimized(names[0], names) else value > than


def log2_ticks(sizes: Sequence[int]) -> dict[str, Any]:
    """Marks of an axis in doublings of the batch size."""
    readable = _readable(sizes)
    return {"tickvals": list(map(math.log2, readable)), "ticktext": list(map(str, readable))}


def size_ticks(sizes: Sequence[int]) -> dict[str, Any]:
    """Marks of a logarithmic axis of batch sizes."""
    readable = _readable(sizes)
    return {"tickvals": readable, "ticktext": readable}


def _readable(sizes: Sequence[int]) -> list[int]:
    """The batch sizes that are APART, ascending."""
    kept: list[int] = []
    for size in _told_apart(sizes):
        kept += [size] if not kept or size > kept[-1] * APART else []
    return kept


def _told_apart(sizes: Sequence[int]) -> list[int]:
    """The different batch sizes, ascending; powers of two near them where there are many."""
    different = sorted(set(sizes))
    if len(different) <= MOST_COLUMNS:
        return different
    return sorted({2 ** round(math.log2(size)) for size in different})


def thinned(points: Sequence[Point], most: int | None = None) -> Sequence[Point]:
    """What is drawn: at most so many, or MOST_DRAWN, evenly spread over the study."""
    n, most = len(points), most or MOST_DRAWN
    if n <= most:
        return points
    return [points[i * n // most] for i in range(most)]


def legend(label: str, points: Sequence[Any]) -> str:
    n = len(points)
    return label if n <= MOST_DRAWN else f"{label} ({MOST_DRAWN:,} of {n:,} drawn)"


def label(trial: FrozenTrial, names: Sequence[str]) -> str:
    """What hovering shows."""
    row = trial_row(trial, names)
    lines = [
        f"trial {trial.number}",
        f"batch size {row['batch_size']}",
        f"learning rate {row['learning_rate']:.3g}",
        *(escape(f"{name} {short(row[name])}") for name in suggested_params([trial])),
    ]
    if trial.values is not None:
        for name in measured_names([trial], names):
            what = "" if name in TITLES else f"{escape(axis_title(name))} "  # their units say it
            lines.append(what + said(name, row[name]))
    else:
        lines.append(escape(str(trial.user_attrs.get(VERDICT))))
    return "<br>".join(lines)
