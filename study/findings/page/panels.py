"""What a batch size buys: metric, rate, seconds and memory over one axis of batch sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from batchfront.study.answer.model import SizeEstimate
from batchfront.study.findings.overview.figures import BELOW, size_ticks, thinned
from batchfront.study.findings.page.good_part import good_part
from batchfront.study.findings.page.hover import run_text, size_text
from batchfront.study.findings.page.side import Side
from batchfront.study.findings.page.theme import BANDS, CHOSEN, SIDES
from batchfront.study.findings.page.units import BYTES, SECONDS, unit_of, words_of
from batchfront.study.trials.rows import runs_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

HEIGHTS = (0.42, 0.22, 0.18, 0.18)
HEIGHT = 860  # pixels of all four
FRESH = "#a21caf"  # of runs that confirm a recommendation
MANY = 30.0  # largest over smallest value: beyond, an axis has labels at powers of ten alone
MARK_HEIGHT = 17  # pixels of what names a recommendation


def panels(sides: Sequence[Side], *, most_runs: int | None = None) -> go.Figure:
    """The four panels; the recommendation of each side is a line through all of them.

    Costs that nobody knows, or that nothing has measured, have no panel.

    `most_runs`: how many runs are drawn of each side, if fewer than usual.
    """
    from plotly.subplots import make_subplots

    costs = [name for name in (SECONDS, BYTES) if any(_costs(sides, name))]
    figure = make_subplots(
        rows=2 + len(costs),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.06,
        row_heights=list(HEIGHTS[: 2 + len(costs)]),
        subplot_titles=_titles(sides, costs),
    )
    figure.update_annotations(x=0, xanchor="left", font={"size": 14})
    for number, side in enumerate(sides):
        _add_interval(figure, side, number)
        _add_runs(figure, side, number, most_runs)
        _add_fresh(figure, side, number)
        _add_expected(figure, side, number)
        _add_rates(figure, side, number)
    _add_costs(figure, sides, costs)
    for number, side in enumerate(sides):
        _mark(figure, side, None if len(sides) == 1 else number)
    _name_axes(figure, sides, n_rows=2 + len(costs))
    return figure


def _costs(sides: Sequence[Side], name: str) -> list[float | None]:
    """Seconds or bytes of all sizes."""
    return [getattr(size, name) for side in sides for size in side.answer.sizes]


def _titles(sides: Sequence[Side], costs: Sequence[str]) -> list[str]:
    """A heading for each panel: on a phone, words beside an axis would take its room."""
    metric = escape(words_of(sides[0].known.yardstick.metric.name))
    titles = (unit_of(name, _costs(sides, name)).title for name in costs)
    return [metric, "best learning rate", *titles]


def _decades(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis for these values, with labels that have room."""
    wide = bool(values) and max(values) > MANY * min(values)
    return {"type": "log", "dtick": 1 if wide else "D2", "tickformat": "~g"}


def _add_interval(figure: go.Figure, side: Side, number: int) -> None:
    """The band in which nine of ten fresh runs end."""
    x = [size.batch_size for size in side.shown]
    expected = side.expected()
    figure.add_scatter(
        x=x + x[::-1],
        y=[high for _, _, high in expected] + [low for _, low, _ in expected][::-1],
        mode="lines",  # of few points plotly would draw markers too
        fill="toself",
        fillcolor=BANDS[number],
        line={"width": 0},
        name=side.named("nine of ten fresh runs"),
        hoverinfo="skip",
        row=1,
        col=1,
    )


def _add_runs(figure: go.Figure, side: Side, number: int, most: int | None) -> None:
    """A point for each completed run, or for so many of them."""
    rows = [row for row in side.known.rows if row.metric is not None]
    drawn = thinned(rows, most)
    figure.add_scatter(
        x=[row.batch_size for row in drawn],
        y=[row.metric for row in drawn],
        mode="markers",
        marker={"size": 6, "color": SIDES[number], "opacity": 0.45},
        name=side.named(_of(drawn, rows, "completed runs")),
        text=[run_text(row, side.known) for row in drawn],
        hoverinfo="text",
        row=1,
        col=1,
    )


def _add_fresh(figure: go.Figure, side: Side, number: int) -> None:
    """The completed runs that confirm a recommendation: they are no evidence for it."""
    rows = [row for row in runs_of(side.known.fresh, side.known.names) if row.metric is not None]
    if not rows:
        return
    figure.add_scatter(
        x=[row.batch_size for row in rows],
        y=[row.metric for row in rows],
        mode="markers",
        marker={
            "symbol": "diamond-open",
            "size": 9,
            "color": SIDES[number] if side.label else FRESH,
            "line": {"width": 1.5},
        },
        name=side.named("fresh runs that confirm"),
        text=[run_text(row, side.known) for row in rows],
        hoverinfo="text",
        row=1,
        col=1,
    )


def _add_expected(figure: go.Figure, side: Side, number: int) -> None:
    """The line of what a fresh run is expected to reach."""
    figure.add_scatter(
        x=[size.batch_size for size in side.shown],
        y=[mean for mean, _, _ in side.expected()],
        mode="lines+markers",
        line={"color": SIDES[number], "width": 2.5},
        name=side.named("expected of a fresh run"),
        text=[size_text(size, side) for size in side.shown],
        hoverinfo="text",
        row=1,
        col=1,
    )


def _of(drawn: Sequence[Any], rows: Sequence[Any], what: str) -> str:
    return what if len(drawn) == len(rows) else f"{what} ({len(drawn):,} of {len(rows):,} drawn)"


def _add_rates(figure: go.Figure, side: Side, number: int) -> None:
    found = [size.shown for size in side.shown]
    figure.add_scatter(
        x=[one.batch_size for one in found],
        y=[one.learning_rate for one in found],
        error_y={
            "type": "data",
            "array": [one.learning_rate_high - one.learning_rate for one in found],
            "arrayminus": [one.learning_rate - one.learning_rate_low for one in found],
            "thickness": 1.5,
        },
        mode="lines+markers",
        line={"color": SIDES[number], "width": 2},
        showlegend=False,
        text=[size_text(size, side) for size in side.shown],
        hoverinfo="text",
        row=2,
        col=1,
    )
    _add_open_ends(figure, found, number)


def _add_open_ends(figure: go.Figure, found: Sequence[SizeEstimate], number: int) -> None:
    """An arrow where the best rate may lie beyond all that were tried: a line's end is none."""
    below = [(one, one.learning_rate_low, "down") for one in found if not one.is_bounded_below]
    above = [(one, one.learning_rate_high, "up") for one in found if not one.is_bounded_above]
    ends = [*below, *above]
    figure.add_scatter(
        x=[one.batch_size for one, _, _ in ends],
        y=[rate for _, rate, _ in ends],
        mode="markers",
        marker={
            "symbol": [f"triangle-{to}" for _, _, to in ends],
            "size": 9,
            "color": SIDES[number],
        },
        showlegend=False,
        text=["the best rate may be beyond"] * len(ends),
        hoverinfo="text",
        row=2,
        col=1,
    )


def _add_costs(figure: go.Figure, sides: Sequence[Side], costs: Sequence[str]) -> None:
    for row, name in enumerate(costs, 3):
        values = _costs(sides, name)
        unit = unit_of(name, values)
        for number, side in enumerate(sides):
            sizes = [size for size in side.answer.sizes if getattr(size, name)]
            figure.add_scatter(
                x=[size.batch_size for size in sizes],
                y=[getattr(size, name) / unit.size for size in sizes],
                mode="lines+markers",
                line={"color": SIDES[number], "width": 2},
                showlegend=False,
                text=[size_text(size, side) for size in sizes],
                hoverinfo="text",
                row=row,
                col=1,
            )
        figure.update_yaxes(**_decades([value / unit.size for value in values if value]), row=row)


def _mark(figure: go.Figure, side: Side, number: int | None) -> None:
    """A line through all panels at the batch size that is recommended.

    `number`: of the side; None where there is one only. The names of two stand one above the other:
    the sizes may be neighbours, or the same.
    """
    chosen = side.answer.recommended
    if chosen is None:
        return
    color = CHOSEN if number is None else SIDES[number]
    line = {"color": color, "width": 2, "dash": "dash" if number else "dot"}
    at = {"x0": chosen.batch_size, "x1": chosen.batch_size, "xref": "x"}
    figure.add_shape(type="line", y0=0, y1=1, yref="paper", line=line, **at)
    whose = f"{escape(side.label)}: " if number is not None else ""
    figure.add_annotation(
        x=math.log10(chosen.batch_size),
        y=1,
        yref="paper",
        yanchor="bottom",
        yshift=18 + MARK_HEIGHT * (number or 0),
        text=f"{whose}train with {chosen.batch_size}",
        font={"color": color},
        showarrow=False,
    )


def _name_axes(figure: go.Figure, sides: Sequence[Side], *, n_rows: int) -> None:
    sizes = [size.batch_size for side in sides for size in side.answer.sizes]
    figure.update_xaxes(type="log", **size_ticks(sizes))
    figure.update_xaxes(title="batch size", row=n_rows, col=1)
    figure.update_yaxes(range=good_part(sides), row=1, col=1)
    shown = [size.estimate for side in sides for size in side.answer.sizes if size.estimate]
    ends = [end for found in shown for end in (found.learning_rate_low, found.learning_rate_high)]
    figure.update_yaxes(**_decades(ends), row=2, col=1)
    figure.update_layout(
        height=round(HEIGHT * sum(HEIGHTS[:n_rows])),
        margin={"l": 50, "r": 15, "t": 50 + MARK_HEIGHT * (len(sides) - 1), "b": 40},
        legend=BELOW,
    )
