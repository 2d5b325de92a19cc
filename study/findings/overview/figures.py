"""Plotly figures of a study. Stored text is escaped before it reaches a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from batchfront.study.show import said, short
from batchfront.study.trials.attributes import (
    MINIMIZED,
    VERDICT,
    is_feasible,
    own_params,
    trial_row,
)
from batchfront.study.trials.front import pareto_front

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna.trial import FrozenTrial

Trials = Sequence["FrozenTrial"]
TITLES = {"train_seconds": "training time (s)", "peak_memory_bytes": "peak memory (bytes)"}
TICKS: dict[str, dict[str, Any]] = {  # D2: a label at 1, 2 and 5 of every decade
    "train_seconds": {"type": "log", "dtick": 1},
    "peak_memory_bytes": {"type": "log", "dtick": "D2", "tickformat": "~s"},
}
FRONT = "#c2410c"
OTHER = "#94a3b8"
STOPPED = "#111827"
LEARNING_RATE_BINS = 12


def axis_title(name: str) -> str:
    """An objective's name with its unit."""
    words = name.replace("val_", "validation ").replace("r2", "R2").replace("_", " ")
    return TITLES.get(name, words)


def front_3d(trials: Trials, names: Sequence[str]) -> go.Figure:
    """Accuracy over time and memory; the front in colour by batch size."""
    import plotly.graph_objects as go

    front = pareto_front(trials, names)
    numbers = {trial.number for trial in front}
    rest = [t for t in trials if is_feasible(t) and t.number not in numbers]
    figure = go.Figure()
    for label, some in (("other completed trials", rest), ("Pareto front", front)):
        marker: dict[str, Any] = {"size": 3, "color": OTHER, "opacity": 0.6}
        if some is front:
            sizes = [math.log2(trial_row(t, names)["batch_size"]) for t in front]
            bar = {"title": "batch size", **_power_ticks(sizes), "len": 0.7}
            marker = {"size": 6, "color": sizes, "colorscale": "Turbo", "colorbar": bar}
        figure.add_scatter3d(
            x=[t.values[1] for t in some],
            y=[t.values[2] for t in some],
            z=[t.values[0] for t in some],
            mode="markers",
            name=label,
            marker=marker,
            text=[_label(t, names) for t in some],
            hoverinfo="text",
        )
    axes = {"xaxis": names[1], "yaxis": names[2], "zaxis": names[0]}
    scene: dict[str, Any] = {
        key: {"title": axis_title(name), **TICKS.get(name, {})} for key, name in axes.items()
    }
    figure.update_layout(
        title="Pareto front",
        scene={**scene, "aspectmode": "cube", "camera": {"eye": {"x": 1.7, "y": 1.7, "z": 0.8}}},
        legend={"orientation": "h", "y": 0},
        margin={"l": 0, "r": 0, "t": 50, "b": 0},
        height=560,
    )
    return figure


def projections(trials: Trials, names: Sequence[str]) -> go.Figure:
    """Pairs of objectives side by side: all of three, else each with the first."""
    from plotly.subplots import make_subplots

    front = pareto_front(trials, names)
    numbers = {trial.number for trial in front}
    rest = [t for t in trials if is_feasible(t) and t.number not in numbers]
    pairs = [(x, 0) for x in range(1, len(names))] + ([(1, 2)] if len(names) == 3 else [])
    figure = make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.08)
    for column, (x, y) in enumerate(pairs, 1):
        for label, some, color in (("other completed", rest, OTHER), ("front", front, FRONT)):
            figure.add_scatter(
                x=[t.values[x] for t in some],
                y=[t.values[y] for t in some],
                mode="markers",
                name=label,
                legendgroup=label,
                showlegend=column == 1,
                marker={"color": color, "size": 8 if some is front else 6},
                text=[_label(t, names) for t in some],
                hoverinfo="text",
                row=1,
                col=column,
            )
        for update, name in ((figure.update_xaxes, names[x]), (figure.update_yaxes, names[y])):
            update(title=axis_title(name), row=1, col=column, **TICKS.get(name, {}))
    figure.update_layout(
        title="Projections of the front", legend={"orientation": "h", "y": -0.25}, height=420
    )
    return figure


def best_per_batch_size(trials: Trials, names: Sequence[str]) -> go.Figure:
    """The best of the first objective at each batch size, over all completed trials."""
    import plotly.graph_objects as go

    feasible = [t for t in trials if is_feasible(t)]
    rows = [trial_row(t, names) for t in feasible]
    best: dict[int, FrozenTrial] = {}
    for trial, row in zip(feasible, rows, strict=True):
        size = row["batch_size"]
        if size not in best or _better(names[0], trial.values[0], best[size].values[0]):
            best[size] = trial
    sizes = sorted(best)
    figure = go.Figure()
    figure.add_scatter(
        x=[row["batch_size"] for row in rows],
        y=[t.values[0] for t in feasible],
        mode="markers",
        name="completed trials",
        marker={"color": OTHER, "size": 6},
        text=[_label(t, names) for t in feasible],
        hoverinfo="text",
    )
    figure.add_scatter(
        x=sizes,
        y=[best[size].values[0] for size in sizes],
        mode="lines+markers",
        name="best",
        marker={"color": FRONT, "size": 8},
        text=[_label(best[size], names) for size in sizes],
        hoverinfo="text",
    )
    figure.update_layout(
        title="Best result per batch size",
        xaxis={"title": "batch size", "type": "log", **_size_ticks(sizes)},
        yaxis={"title": axis_title(names[0])},
        legend={"orientation": "h", "y": -0.2},
        height=420,
    )
    return figure


def heat_map(trials: Trials, names: Sequence[str]) -> go.Figure:
    """Best of the first objective per cell; crosses are runs that were stopped."""
    import plotly.graph_objects as go

    rows = [(t, trial_row(t, names)) for t in trials if t.state.name in ("COMPLETE", "PRUNED")]
    figure = go.Figure()
    if rows:
        _add_cells(figure, [(t, row) for t, row in rows if is_feasible(t)], rows, names[0])
    for label, state, symbol in (("completed", "COMPLETE", "circle"), ("stopped", "PRUNED", "x")):
        some = [(t, row) for t, row in rows if t.state.name == state]
        figure.add_scatter(
            x=[math.log2(row["batch_size"]) for _, row in some],
            y=[math.log10(row["learning_rate"]) for _, row in some],
            mode="markers",
            name=label,
            marker={
                "symbol": symbol,
                "size": 8,
                "color": STOPPED if state == "PRUNED" else "white",
                "line": {"color": STOPPED, "width": 1},
            },
            text=[_label(t, names) for t, _ in some],
            hoverinfo="text",
        )
    exponents = [math.log2(row["batch_size"]) for _, row in rows]
    decades = [math.log10(row["learning_rate"]) for _, row in rows] or [0.0]
    steps = (1, 2, 5) if max(decades) - min(decades) < 1 else (1,)
    powers = range(math.floor(min(decades)), math.ceil(max(decades)) + 1)
    ticks = [power + math.log10(step) for power in powers for step in steps]
    figure.update_layout(
        title="Batch size x learning rate",
        xaxis={"title": "batch size", **_power_ticks(exponents)},
        yaxis={
            "title": "learning rate",
            "tickvals": ticks,
            "ticktext": [f"{10.0**d:g}" for d in ticks],
        },
        legend={"orientation": "h", "y": -0.15},
        height=520,
    )
    return figure


def _add_cells(figure: go.Figure, feasible: Any, rows: Any, metric: str) -> None:
    decades = [math.log10(row["learning_rate"]) for _, row in rows]
    low, high = min(decades), max(decades)
    n_bins = min(LEARNING_RATE_BINS, len(set(decades)))  # no empty rows between those of a grid
    width = (high - low) / n_bins or 1.0
    exponents = [round(math.log2(row["batch_size"])) for _, row in rows]
    first, last = min(exponents), max(exponents)
    cells: list[list[float | None]] = [[None] * (last - first + 1) for _ in range(n_bins)]
    for trial, row in feasible:
        x = round(math.log2(row["batch_size"])) - first
        y = min(int((math.log10(row["learning_rate"]) - low) / width), n_bins - 1)
        best = cells[y][x]
        if best is None or _better(metric, trial.values[0], best):
            cells[y][x] = trial.values[0]
    figure.add_heatmap(
        x=list(range(first, last + 1)),
        y=[low + (i + 0.5) * width for i in range(n_bins)],
        z=cells,
        colorscale="Viridis",
        reversescale=metric in MINIMIZED,  # bright is good
        colorbar={"title": axis_title(metric)},
        hoverinfo="skip",
        name="best per cell",
    )


def _better(name: str, value: float, than: float) -> bool:
    return value < than if name in MINIMIZED else value > than


def _power_ticks(exponents: Sequence[float]) -> dict[str, Any]:
    ticks = sorted({round(e) for e in exponents})
    return {"tickvals": ticks, "ticktext": [str(2**e) for e in ticks]}


def _size_ticks(sizes: Sequence[int]) -> dict[str, Any]:
    """Every batch size; powers of two instead where recorded ones lie too close to be read."""
    exponents = [math.log2(size) for size in sizes]
    if all(b - a >= 0.5 for a, b in pairwise(exponents)):
        return {"tickvals": sizes, "ticktext": sizes}
    powers = _power_ticks(exponents)["ticktext"]
    return {"tickvals": list(map(int, powers)), "ticktext": powers}


def _label(trial: FrozenTrial, names: Sequence[str]) -> str:
    """What hovering shows."""
    row = trial_row(trial, names)
    lines = [
        f"trial {trial.number}",
        f"batch size {row['batch_size']}",
        f"learning rate {row['learning_rate']:.3g}",
        *(escape(f"{name} {short(row[name])}") for name in own_params([trial])),
    ]
    if trial.values is not None:
        for name in names:
            what = "" if name in TITLES else f"{escape(axis_title(name))} "  # their units say it
            lines.append(what + said(name, row[name]))
    else:
        lines.append(escape(str(trial.user_attrs.get(VERDICT))))
    return "<br>".join(lines)
