"""The ladder as a picture: what the seeds reached, and what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.study.findings.overview.figures import FRONT, OTHER, STOPPED, axis_title
from batchfront.study.smallest.answer import Answer

if TYPE_CHECKING:
    import plotly.graph_objects as go


def ladder_figure(answer: Answer) -> go.Figure:
    """Every fresh seed's metric, and the seconds to the target, over the batch size."""
    from plotly.subplots import make_subplots

    found, by = answer.found, answer.question.yardstick
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    for reached, color, name in (
        (True, FRONT, "seeds that reach the target"),
        (False, OTHER, "seeds that do not"),
    ):
        seeds = [
            (state.batch_size, run)
            for state in found.looked
            for run, outcome in zip(state.fresh, state.outcomes, strict=True)
            if outcome == reached and run.metric is not None
        ]
        figure.add_scatter(
            x=[size for size, _ in seeds],
            y=[by.own(run.metric) for _, run in seeds],
            mode="markers",
            name=name,
            marker={"color": color, "size": 8, "opacity": 0.7},
            text=[f"trial {run.number}, learning rate {run.learning_rate:.2g}" for _, run in seeds],
            row=1,
            col=1,
        )
    timed = [size for size in answer.table if size.seconds_to_target is not None]
    figure.add_scatter(
        x=[size.batch_size for size in timed],
        y=[size.seconds_to_target for size in timed],
        mode="lines+markers",
        name="seconds to the target",
        marker={"color": STOPPED, "size": 8},
        row=1,
        col=2,
    )
    _arrange(figure, answer)
    return figure


def _arrange(figure: go.Figure, answer: Answer) -> None:
    by = answer.question.yardstick
    sizes = sorted(size.batch_size for size in answer.table)
    ticks = {"type": "log", "tickvals": sizes, "ticktext": sizes, "title": "batch size"}
    figure.update_xaxes(**ticks)
    figure.update_yaxes(title=f"{axis_title(by.metric.name)}, as told", row=1, col=1)
    figure.update_yaxes(title="training time to the target (s)", type="log", row=1, col=2)
    if answer.found.target is not None:
        figure.add_hline(y=by.own(answer.found.target), line_dash="dash", row=1, col=1)
    shown = answer.found.answer
    title = "not shown" if shown is None else f"batch size {shown}"
    figure.update_layout(
        title=f"Smallest batch size that reaches the target: {title}",
        legend={"orientation": "h", "y": -0.2},
        height=460,
    )
