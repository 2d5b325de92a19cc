"""The figure of `critical-batch`: what each batch size took, and the line through that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.critical.fit import Critical, FittedLine
from batchfront.study.findings.critical.medians import LEVEL
from batchfront.study.findings.overview.figures import FRONT, OTHER
from batchfront.study.show import short_number

if TYPE_CHECKING:
    import plotly.graph_objects as go

POINTS = 60  # of the curve
BAND = "rgba(194, 65, 12, 0.15)"  # FRONT, thinned


def critical_figure(found: Critical, *, unit: str) -> go.Figure:
    """Costs over batch size, both logarithmic: level below the critical size, rising beyond."""
    import plotly.graph_objects as go

    figure = go.Figure()
    line = found.line
    if line is not None:
        _add_line(figure, line, [row.runs.batch_size for row in found.sizes])
    runs = [(row.runs.batch_size, cost) for row in found.sizes for cost in row.runs.to_target]
    there = [(size, cost) for size, cost in runs if cost < float("inf")]
    figure.add_scatter(
        x=[size for size, _ in there],
        y=[cost for _, cost in there],
        mode="markers",
        name="runs",
        marker={"color": OTHER, "size": 6, "opacity": 0.6},
    )
    medians = [(row.runs.batch_size, row.median.value) for row in found.sizes if row.median]
    figure.add_scatter(
        x=[size for size, _ in medians],
        y=[cost for _, cost in medians],
        mode="markers",
        name="median of a size",
        marker={"color": FRONT, "size": 10},
    )
    figure.update_layout(
        title="Critical batch size" if line else "Critical batch size: not shown",
        xaxis={"title": "batch size", "type": "log", **_ticks([size for size, _ in runs])},
        yaxis={"title": f"{unit} to the target", "type": "log", **_ticks([c for _, c in there])},
        legend={"orientation": "h", "y": -0.2},
        height=480,
    )
    return figure


def _add_line(figure: go.Figure, line: FittedLine, sizes: Sequence[int]) -> None:
    """The fit, the middle of what the bootstrap draws, and the two sizes it leads to."""
    import numpy as np

    x = np.geomspace(min(sizes), max(*sizes, line.b_crit.value), POINTS)
    start, slope = line.replicates  # (R,) each
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(start[:, None] + slope[:, None] * x, [tail, 1 - tail], axis=0)
    figure.add_scatter(
        x=[*x, *x[::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        fillcolor=BAND,
        line={"width": 0},
        hoverinfo="skip",
        name=f"{LEVEL:.0%} band",
    )
    costs = line.e_min.value * (1 + x / line.b_crit.value)
    figure.add_scatter(x=x, y=costs, mode="lines", name="line", line={"color": FRONT})
    for estimate, name in ((line.overhead_20, "20% more"), (line.b_crit, "critical")):
        figure.add_vline(x=estimate.value, line={"color": OTHER, "dash": "dot"})
        figure.add_annotation(  # not the line's own: that forgets that the axis is logarithmic
            x=math.log10(estimate.value),
            y=1,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            text=f"{name}: {short_number(estimate.value)}",
        )


def _ticks(values: Sequence[float]) -> dict[str, Any]:
    """Round numbers with all their digits; more of them within a decade."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    digits = (1, 2, 5) if high > 10 * low else range(1, 10)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**decade for decade in decades for digit in digits]
    return {"tickvals": ticks, "ticktext": [short_number(tick) for tick in ticks]}
