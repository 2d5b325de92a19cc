"""What a batch size buys: metric, rate, seconds and memory over one axis of batch sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from batchfront.study.answer.choice import Answer, SizeAdvice
from batchfront.study.answer.known import Known
from batchfront.study.answer.model import SizeEstimate
from batchfront.study.answer.show import answer_form, best_rates, metric_of
from batchfront.study.findings.overview.figures import BELOW, size_ticks, thinned
from batchfront.study.findings.page.theme import BANDS, CHOSEN, SIDES
from batchfront.study.findings.page.units import BYTES, SECONDS, unit_of, words_of
from batchfront.study.show import human_bytes, human_seconds, metric_form
from batchfront.study.trials.rows import RunRow, runs_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

HEIGHTS = (0.42, 0.22, 0.18, 0.18)
HEIGHT = 860  # pixels of all four
FRESH = "#a21caf"  # of runs that confirm a recommendation
MOST_NUMBERS = 12  # of trials that hovering names
NEAR_BEST = 4.0  # times the usual distance from the best that the metric's axis shows
MANY = 30.0  # largest over smallest value: beyond, an axis has labels at powers of ten alone
MARK_HEIGHT = 17  # pixels of what names a recommendation
ROOM = 0.06  # of the axis, above and below


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one study, or one hardware, contributes."""

    label: str  # "" where there is one only
    answer: Answer
    known: Known


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
        _add_metric(figure, side, number, most_runs)
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


def _add_metric(figure: go.Figure, side: Side, number: int, most: int | None) -> None:
    sizes = [size for size in side.answer.sizes if size.estimate is not None]
    expected = _expected(side)
    x = [size.batch_size for size in sizes]
    figure.add_scatter(
        x=x + x[::-1],
        y=[high for _, _, high in expected] + [low for _, low, _ in expected][::-1],
        mode="lines",  # of few points plotly would draw markers too
        fill="toself",
        fillcolor=BANDS[number],
        line={"width": 0},
        name=_named(side, "nine of ten fresh runs"),
        hoverinfo="skip",
        row=1,
        col=1,
    )
    rows = [row for row in side.known.rows if row.metric is not None]
    drawn = thinned(rows, most)
    figure.add_scatter(
        x=[row.batch_size for row in drawn],
        y=[row.metric for row in drawn],
        mode="markers",
        marker={"size": 6, "color": SIDES[number], "opacity": 0.45},
        name=_named(side, _of(drawn, rows, "completed runs")),
        text=[_run_text(row, side.known) for row in drawn],
        hoverinfo="text",
        row=1,
        col=1,
    )
    _add_fresh(figure, side, number)
    figure.add_scatter(
        x=x,
        y=[mean for mean, _, _ in expected],
        mode="lines+markers",
        line={"color": SIDES[number], "width": 2.5},
        name=_named(side, "expected of a fresh run"),
        text=[_size_text(size, side) for size in sizes],
        hoverinfo="text",
        row=1,
        col=1,
    )


def _add_fresh(figure: go.Figure, side: Side, number: int) -> None:
    """The completed runs that confirm a recommendation: they are no evidence for it."""
    rows = [row for row in runs_of(side.known.fresh, side.known.names) if row.metric is not None]
    if rows:
        figure.add_scatter(
            x=[row.batch_size for row in rows],
            y=[row.metric for row in rows],
            mode="markers",
            marker={
                "symbol": "diamond-open",
                "size": 9,
                "color": FRESH if not side.label else SIDES[number],
                "line": {"width": 1.5},
            },
            name=_named(side, "fresh runs that confirm"),
            text=[_run_text(row, side.known) for row in rows],
            hoverinfo="text",
            row=1,
            col=1,
        )


def _add_rates(figure: go.Figure, side: Side, number: int) -> None:
    shown = [size for size in side.answer.sizes if size.estimate is not None]
    found = [size.shown for size in shown]
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
        text=[_size_text(size, side) for size in shown],
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
                text=[_size_text(size, side) for size in sizes],
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
    figure.update_yaxes(range=_zoom(sides), row=1, col=1)
    shown = [size.estimate for side in sides for size in side.answer.sizes if size.estimate]
    ends = [end for found in shown for end in (found.learning_rate_low, found.learning_rate_high)]
    figure.update_yaxes(**_decades(ends), row=2, col=1)
    figure.update_layout(
        height=round(HEIGHT * sum(HEIGHTS[:n_rows])),
        margin={"l": 50, "r": 15, "t": 50 + MARK_HEIGHT * (len(sides) - 1), "b": 40},
        legend=BELOW,
    )


def _zoom(sides: Sequence[Side]) -> list[float]:
    """The part of the metric's axis that matters: good sizes, with the intervals of fresh runs.

    A size that hardly learns would squeeze all others into a line, so it may lie outside. Of two
    sides the one whose good sizes differ less says what matters.
    """
    found = [_expected(side) for side in sides]
    bests, reaches = zip(*map(_best_and_reach, sides, found), strict=True)
    reach = max(min(reaches), max(bests) - min(bests))
    ends = [_good_part(some, best, reach) for some, best in zip(found, bests, strict=True)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    room = ROOM * (high - low) or abs(high) * ROOM or ROOM
    return [low - room, high + room]


def _expected(side: Side) -> list[tuple[float, float, float]]:
    """The expected metric of each size that is shown, and its interval."""
    return [metric_of(size.estimate, side.known) for size in side.answer.sizes if size.estimate]


def _best_and_reach(side: Side, found: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """The best expected metric, and how far from it sizes are still good."""
    good = side.known.yardstick.metric.good
    means = sorted((mean for mean, _, _ in found), key=good, reverse=True)
    usual = abs(means[0] - means[len(means) // 2])
    return means[0], NEAR_BEST * max(usual, _half_width(found))


def _good_part(
    found: Sequence[tuple[float, float, float]], best: float, reach: float
) -> tuple[float, float]:
    inside = [ends for ends in found if abs(ends[0] - best) <= reach]
    low = max(min(low for _, low, _ in inside), best - 1.5 * reach)
    return low, min(max(high for _, _, high in inside), best + 1.5 * reach)


def _half_width(found: Sequence[tuple[float, float, float]]) -> float:
    widths = sorted(high - low for _, low, high in found)
    return widths[len(widths) // 2] / 2


def _named(side: Side, what: str) -> str:
    return f"{escape(side.label)}: {what}" if side.label else what


def _of(drawn: Sequence[Any], rows: Sequence[Any], what: str) -> str:
    return what if len(drawn) == len(rows) else f"{what} ({len(drawn):,} of {len(rows):,} drawn)"


def _run_text(row: RunRow, known: Known) -> str:
    name = escape(words_of(known.yardstick.metric.name))
    form = metric_form(row.metric)
    return (
        f"trial {row.number}<br>batch size {row.batch_size}<br>"
        f"learning rate {row.learning_rate:.3g}<br>{name} {row.metric:{form}}"
    )


def _size_text(size: SizeAdvice, side: Side) -> str:
    """What hovering over a batch size shows."""
    known = side.known
    lines = [f"batch size {size.batch_size}"]
    if size.estimate is not None:
        found, (mean, low, high) = size.estimate, metric_of(size.estimate, known)
        form = answer_form(side.answer, known)
        name = escape(words_of(known.yardstick.metric.name))
        lines += [
            f"learning rate {found.learning_rate:.2g} ({best_rates(found)})",
            f"expected {name} {mean:{form}} ({low:{form}} to {high:{form}})",
        ]
    if size.train_seconds is not None:
        lines.append(human_seconds(size.train_seconds))
    if size.peak_memory_bytes:
        lines.append(human_bytes(size.peak_memory_bytes))
    return "<br>".join([*lines, f"rests on {size.evidence}", _numbers(size.trials)])


def _numbers(trials: Sequence[int]) -> str:
    if not trials:
        return "no trial at this size"
    shown = ", ".join(map(str, trials[:MOST_NUMBERS]))
    more = len(trials) - MOST_NUMBERS
    return f"trials {shown}" + (f" and {more} more" if more > 0 else "")
