"""Learning curves of all runs: Optuna stores none for several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from batchfront.study.answer.known import Known
from batchfront.study.findings.overview.figures import BELOW, thinned
from batchfront.study.findings.page.units import words_of
from batchfront.study.trials.rows import RunRow

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_CURVES = 300
SCALE = "Turbo"
ENDS = (0.11, 0.86)  # of the scale: what lies beyond is not seen on a dark page
WORST_SHOWN = 0.25  # quantile of all points: first epochs would squeeze what is compared
ROOM = 0.05


def learning_curves(known: Known, *, most: int = MOST_CURVES) -> go.Figure:
    """A colour a batch size; runs that were stopped end in a cross."""
    import plotly.graph_objects as go
    from plotly.colors import sample_colorscale

    figure = go.Figure()
    rows = [row for row in known.rows if row.finished and row.curve]
    drawn = thinned(rows, most)
    sizes = sorted({row.batch_size for row in drawn})
    low, high = ENDS
    places = [low + (high - low) * n / max(len(sizes) - 1, 1) for n in range(len(sizes))]
    for size, color in zip(sizes, sample_colorscale(SCALE, places), strict=True):
        _add_curves(figure, [row for row in drawn if row.batch_size == size], color)
    _add_ends(figure, [row for row in drawn if row.metric is None])
    words = escape(words_of(known.yardstick.metric.name))
    some = "" if len(drawn) == len(rows) else f" ({len(drawn)} of {len(rows):,} runs drawn)"
    plain = all(row.length is None or row.length.is_plain for row in drawn)
    figure.update_layout(
        title={"text": f"{words} of each run, by batch size{some}", "x": 0, "font": {"size": 14}},
        xaxis={"title": "epoch" if plain else "evaluation"},
        yaxis={"range": _range(drawn, known)},
        height=480,
        margin={"l": 50, "r": 10, "t": 40, "b": 40},
        legend=BELOW,
    )
    return figure


def _add_curves(figure: go.Figure, rows: Sequence[RunRow], color: str) -> None:
    """All curves of one size as one trace, with a gap after each."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for row in rows:
        x += [*_points(row), None]
        y += [*row.curve, None]
        label = f"trial {row.number}: {row.batch_size} at {row.learning_rate:.3g}"
        text += [label] * (len(row.curve) + 1)
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": color, "width": 1.5},
        name=str(rows[0].batch_size),
        text=text,
        hovertemplate="%{text}<br>%{y:.4g}<extra></extra>",
    )


def _add_ends(figure: go.Figure, rows: Sequence[RunRow]) -> None:
    figure.add_scatter(
        x=[_points(row)[-1] for row in rows],
        y=[row.curve[-1] for row in rows],
        mode="markers",
        marker={"symbol": "x", "size": 9, "color": "#dc2626"},
        name="stopped",
        text=[f"trial {row.number}: {escape(str(row.verdict))}" for row in rows],
        hoverinfo="text",
    )


def _points(row: RunRow) -> list[int]:
    return [n * row.stride for n in range(1, len(row.curve) + 1)]


def _range(rows: Sequence[RunRow], known: Known) -> list[float] | None:
    """The part of the axis in which most points lie, up to the best of them."""
    good = known.yardstick.metric.good
    goods = sorted(good(value) for row in rows for value in row.curve)
    if not goods:
        return None
    worst, best = goods[int(WORST_SHOWN * (len(goods) - 1))], goods[-1]
    room = ROOM * (best - worst) or ROOM
    ends = [good(worst - room), good(best + room)]
    return sorted(ends)
