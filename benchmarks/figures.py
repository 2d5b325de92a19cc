"""Pictures of benchmark rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLORS = {
    "front": "#c2410c", "guard": "#f59e0b", "multi-metric": "#7c3aed", "median": "#1d4ed8",
    "percentile": "#0ea5e9", "halving": "#0f766e", "hyperband": "#16a34a", "patient": "#64748b",
    "threshold": "#a3a3a3", "wilcoxon": "#db2777", "hindsight": "#111827",
}  # fmt: skip
LOWEST = 0.001  # share killed; none is drawn here, for the axis is logarithmic


def pruning_figure(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Share of the front that is killed over the training time left: a point for each table."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for pruner, color in COLORS.items():
        some = [row for row in rows if row["pruner"] == pruner]
        if not some:
            continue
        marked = pruner in ("front", "hindsight")
        figure.add_scatter(
            x=[row["train_seconds_ratio"] for row in some],
            y=[max(row["front_members_killed"], LOWEST) for row in some],
            mode="markers",
            name=pruner,
            text=[row["table"] for row in some],
            hovertemplate="%{text}: %{y:.1%} killed at %{x:.2f} of the time",
            marker=_marker(color, "star" if pruner == "front" else "x" if marked else "circle"),
        )
    ticks = [LOWEST, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
    labels = ["none", "0.3%", "1%", "3%", "10%", "30%", "100%"]
    figure.update_layout(
        template="plotly_white",
        width=1000,
        height=560,
        title="What pruners do to a Pareto front: one point for each pruner and table",
        xaxis={"title": "training time, share of that without a pruner", "range": [0, 1.05]},
        yaxis={
            "title": "members of the front that were stopped",
            "type": "log",
            "tickvals": ticks,
            "ticktext": labels,
            "range": [-3.15, 0.05],
        },
    )
    figure.add_hline(y=0.01, line={"dash": "dot", "color": "#94a3b8", "width": 1})
    figure.write_html(out, include_plotlyjs=True)


SEARCH_COLORS = {
    "cost-aware": "#c2410c", "tpe": "#1d4ed8", "qmc": "#0ea5e9", "grid": "#16a34a",
    "random": "#64748b", "nsgaii": "#7c3aed", "nsgaiii": "#a855f7", "gp": "#db2777",
    "botorch": "#ca8a04", "moasha": "#0f766e",
}  # fmt: skip


def search_figure(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Training seconds until 95% of the hypervolume, over those of the oracle: a line a table.

    Each sampler with the pruner it is quickest with; what never got there is left out.
    """
    import plotly.graph_objects as go

    oracle = {r["table"]: r["seconds_to_95"] for r in rows if r["sampler"] == "oracle"}
    figure = go.Figure()
    for sampler, color in SEARCH_COLORS.items():
        best: dict[str, float] = {}
        for row in rows:
            table, seconds = row["table"], row["seconds_to_95"]
            if row["sampler"] == sampler and seconds is not None:
                best[table] = min(seconds / oracle[table], best.get(table, math.inf))
        if not best:
            continue
        figure.add_scatter(
            x=list(best.values()),
            y=list(best),
            mode="markers",
            name=sampler,
            marker=_marker(color, "star" if sampler == "cost-aware" else "circle"),
        )
    ticks = [1, 2, 5, 10, 20, 50, 100]
    figure.update_layout(
        template="plotly_white",
        width=1000,
        height=120 + 32 * len(oracle),
        title="Training time until a search has 95% of the front's hypervolume",
        xaxis={
            "title": "times what the cheapest runs that reach it cost (median over seeds)",
            "type": "log",
            "tickvals": ticks,
            "ticktext": [f"{tick}x" for tick in ticks],
        },
        yaxis={"categoryorder": "array", "categoryarray": sorted(oracle, reverse=True)},
    )
    figure.add_vline(x=1, line={"dash": "dot", "color": "#94a3b8", "width": 1})
    figure.write_html(out, include_plotlyjs=True)


def _marker(color: str, symbol: str) -> dict[str, Any]:
    """Circles are the others."""
    size = 9 if symbol == "circle" else 14
    line = {"width": 0.5, "color": "white"}
    return {"color": color, "size": size, "symbol": symbol, "line": line}
