"""The front seen from its sides: pairs of objectives, zoomed to what matters, with units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.overview.figures import BELOW, FRONT, OTHER, label, legend, thinned
from batchfront.study.findings.page.units import UNITS, Unit, unit_of
from batchfront.study.trials.attributes import is_feasible, measured_names
from batchfront.study.trials.repeats import median_front
from batchfront.study.trials.yardstick import is_minimized

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna.trial import FrozenTrial

NEAR = 4.0  # times the usual distance of the front from its best that the metric's axis shows
ROOM = 0.06  # of the axis, above and below
WIDE = 100.0  # largest over smallest value: beyond, an axis has labels at powers of ten alone


def pairs_of(trials: Sequence[FrozenTrial], names: Sequence[str]) -> list[tuple[int, int]]:
    """Which objectives are drawn against which, x first: all of three, else each with the first."""
    shown = [names.index(name) for name in measured_names(trials, names)]
    return [(x, 0) for x in shown[1:]] + ([(1, 2)] if len(shown) == 3 else [])


def projections(
    trials: Sequence[FrozenTrial],
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]] | None = None,
) -> go.Figure:
    """Pairs of objectives side by side: those asked for, else all that there are."""
    from plotly.subplots import make_subplots

    front = median_front(trials, names)
    numbers = {trial.number for trial in front}
    rest = [t for t in trials if is_feasible(t) and t.number not in numbers]
    units = [
        unit_of(name, (trial.values[n] for trial in [*front, *rest]))
        for n, name in enumerate(names)
    ]
    axes = [_axis(n, names, units[n], front, rest) for n in range(len(names))]
    pairs = pairs_of(trials, names) if pairs is None else pairs
    figure = make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.1)
    for column, (x, y) in enumerate(pairs, 1):
        others = (legend("other completed", rest), thinned(rest), OTHER)
        for name, some, color in (others, ("front", front, FRONT)):
            figure.add_scatter(
                x=[t.values[x] / units[x].size for t in some],
                y=[t.values[y] / units[y].size for t in some],
                mode="markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                marker={"color": color, "size": 8 if some is front else 6},
                text=[label(t, names) for t in some],
                hoverinfo="text",
                row=1,
                col=column,
            )
        figure.update_xaxes(row=1, col=column, **axes[x])
        figure.update_yaxes(row=1, col=column, **axes[y])
    figure.update_layout(
        legend=BELOW,
        height=400,
        margin={"l": 50, "r": 10, "t": 20, "b": 40},
    )
    return figure


def _axis(
    n: int,
    names: Sequence[str],
    unit: Unit,
    front: Sequence[FrozenTrial],
    rest: Sequence[FrozenTrial],
) -> dict[str, Any]:
    """Title, scale and range of an objective's axis."""
    if names[n] in UNITS:
        values = [trial.values[n] for trial in [*front, *rest] if trial.values[n] > 0]
        is_wide = bool(values) and max(values) > WIDE * min(values)
        ticks = {"dtick": 1 if is_wide else "D2", "tickformat": "~g"}
        return {"title": unit.title, "type": "log", **ticks}
    return {"title": unit.title, "range": _zoom([trial.values[n] for trial in front], n, names)}


def _zoom(values: Sequence[float], n: int, names: Sequence[str]) -> list[float] | None:
    """Where the better part of the front lies: a size that hardly learns would squeeze the rest."""
    if not values:
        return None
    sign = -1.0 if is_minimized(names[n], names) else 1.0
    goods = sorted(sign * value for value in values)
    best, usual = goods[-1], goods[len(goods) // 2]
    worst = max(goods[0], best - NEAR * (best - usual)) if best > usual else goods[0]
    room = ROOM * (best - worst) or abs(best) * ROOM or ROOM
    return sorted((sign * (worst - room), sign * (best + room)))
