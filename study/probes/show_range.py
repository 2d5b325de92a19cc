"""The figure of `lr-range`: the loss over the learning rate that grew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.study.findings.overview.figures import FRONT, OTHER

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from batchfront.objectives.probes.lr_range import RangeTest


def range_figure(found: RangeTest, *, task: str) -> go.Figure:
    """Losses of single steps, smoothed, with the suggested range shaded."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=found.rates,
        y=found.losses,
        mode="markers",
        name="of a step",
        marker={"color": OTHER, "size": 4, "opacity": 0.4},
    )
    figure.add_scatter(
        x=found.rates, y=found.smoothed, mode="lines", name="smoothed", line={"color": FRONT}
    )
    if found.low is not None and found.high is not None:
        figure.add_vrect(x0=found.low, x1=found.high, fillcolor=FRONT, opacity=0.1, line_width=0)
    low, high = min(found.smoothed), max(found.smoothed)
    margin = 0.2 * (high - low)
    figure.update_layout(
        title=f"Learning-rate range test: {task}, batch size {found.batch_size}",
        xaxis={"title": "learning rate", "type": "log"},
        yaxis={"title": "training loss", "range": [low - margin, high + margin]},
        legend={"orientation": "h", "y": -0.2},
        height=480,
    )
    return figure
