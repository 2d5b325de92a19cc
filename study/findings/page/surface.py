"""The search as a map: what was learned of the metric over batch size and learning rate."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from batchfront.study.answer.choice import Answer
from batchfront.study.answer.known import Known
from batchfront.study.answer.model import Learned
from batchfront.study.findings.overview.figures import BELOW, colorbar, log2_ticks, thinned
from batchfront.study.findings.page.theme import CHOSEN
from batchfront.study.findings.page.units import words_of
from batchfront.study.show import metric_form
from batchfront.study.trials.rows import RunRow

if TYPE_CHECKING:
    import plotly.graph_objects as go

N_SIZES, N_RATES = 33, 41
N_LEVELS = 14
N_TICKS = 4
SYMBOLS = ("x", "cross", "triangle-down", "diamond", "square", "star-triangle-down")
MOST_RUNS = 1500
EDGE = "#64748b"  # of the line of best rates: seen on light pages and on dark ones


def search_map(answer: Answer, known: Known, *, most_runs: int = MOST_RUNS) -> go.Figure:
    """Contours of the expected metric, the runs, the stops by verdict, the valley of best rates.

    `most_runs`: how many are drawn; those that were stopped, by their share.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    if answer.learned is not None:
        _add_contours(figure, answer.learned, known)
    _add_runs(figure, known, most_runs)
    _add_valley(figure, answer)
    sizes = list(known.costs)
    low, high = map(math.log10, known.rates)
    decades = range(math.floor(low), math.ceil(high) + 1)
    figure.update_layout(
        xaxis={"title": "batch size", "zeroline": False, **log2_ticks(sizes)},
        yaxis={
            "title": "learning rate",
            "zeroline": False,
            "tickvals": list(decades),
            "ticktext": [f"{10.0**decade:g}" for decade in decades],
        },
        height=520,
        margin={"l": 50, "r": 10, "t": 30, "b": 40},
        legend=BELOW,
    )
    return figure


def _add_contours(figure: go.Figure, learned: Learned, known: Known) -> None:
    import numpy as np

    sizes = np.linspace(math.log2(min(known.costs)), math.log2(max(known.costs)), N_SIZES)
    rates = np.linspace(math.log2(known.rates[0]), math.log2(known.rates[1]), N_RATES)
    grid = np.array([[size, rate, *learned.own[0]] for rate in rates for size in sizes])
    log_error = learned.surface.mean(grid).reshape(N_RATES, N_SIZES)
    metric = known.yardstick.own(1 - np.maximum(np.exp(log_error) - learned.tie, 0.0))
    low, high = float(log_error.min()), float(log_error.max())
    ticks = np.linspace(low, high, N_TICKS)
    values = [float(known.yardstick.own(1 - max(math.exp(t) - learned.tie, 0.0))) for t in ticks]
    form = metric_form(*values, digits=3)
    name = escape(words_of(known.yardstick.metric.name))
    figure.add_contour(
        x=sizes.tolist(),
        y=(rates * math.log10(2)).tolist(),
        z=log_error.round(4).tolist(),
        customdata=[[f"{value:{form}}" for value in row] for row in metric],
        hovertemplate=f"expected {name} %{{customdata}}<extra></extra>",
        colorscale="Viridis",
        reversescale=True,  # bright is good
        contours={"start": low, "end": high, "size": (high - low) / N_LEVELS or 1.0},
        line={"width": 0.5, "color": "rgba(255,255,255,.5)"},
        colorbar={
            **colorbar(name),
            "tickvals": ticks.tolist(),
            "ticktext": [f"{value:{form}}" for value in values],
        },
        name="learned",
        showlegend=False,
    )


def _add_runs(figure: go.Figure, known: Known, most: int) -> None:
    groups: dict[str, list[RunRow]] = {}
    for row in known.rows:
        if row.finished:
            ended = "completed" if row.metric is not None else str(row.verdict)
            groups.setdefault(ended, []).append(row)
    n_finished = sum(map(len, groups.values()))
    stops = [verdict for verdict in groups if verdict != "completed"]
    for verdict, rows in groups.items():
        is_stop = verdict != "completed"
        drawn = thinned(rows, math.ceil(most * len(rows) / n_finished))
        some = "" if len(drawn) == len(rows) else f" ({len(drawn):,} of {len(rows):,} drawn)"
        figure.add_scatter(
            x=[round(math.log2(row.batch_size), 3) for row in drawn],
            y=[round(math.log10(row.learning_rate), 3) for row in drawn],
            mode="markers",
            name=escape(f"stopped: {verdict}" if is_stop else verdict).replace("_", " ") + some,
            marker={
                "symbol": SYMBOLS[stops.index(verdict) % len(SYMBOLS)] if is_stop else "circle",
                "size": 9 if is_stop else 7,
                "color": "#dc2626" if is_stop else "white",
                "line": {"color": "#111827", "width": 1},
            },
            text=[_text(row, known) for row in drawn],
            hoverinfo="text",
        )


def _add_valley(figure: go.Figure, answer: Answer) -> None:
    found = [size.estimate for size in answer.sizes if size.estimate is not None]
    # The lower one is what the legend shows: white is not seen on a light page.
    for line in ({"color": EDGE, "width": 6}, {"color": "#f8fafc", "width": 3, "dash": "dash"}):
        figure.add_scatter(
            x=[math.log2(one.batch_size) for one in found],
            y=[math.log10(one.learning_rate) for one in found],
            mode="lines",
            name="best learning rates",
            legendgroup="best learning rates",
            showlegend=line["color"] == EDGE,
            line=line,
            hoverinfo="skip",
        )
    if answer.recommended is not None:
        chosen = answer.recommended.shown
        figure.add_scatter(
            x=[math.log2(chosen.batch_size)],
            y=[math.log10(chosen.learning_rate)],
            mode="markers",
            name="recommended",
            marker={
                "symbol": "star",
                "size": 18,
                "color": CHOSEN,
                "line": {"color": "white", "width": 1.5},
            },
            text=[f"recommended: {chosen.batch_size} at {chosen.learning_rate:.2g}"],
            hoverinfo="text",
        )


def _text(row: RunRow, known: Known) -> str:
    lines = [
        f"trial {row.number}",
        f"batch size {row.batch_size}",
        f"learning rate {row.learning_rate:.3g}",
    ]
    if row.metric is None:
        return "<br>".join([*lines, escape(str(row.verdict))])
    name = escape(words_of(known.yardstick.metric.name))
    return "<br>".join([*lines, f"{name} {row.metric:{metric_form(row.metric)}}"])
