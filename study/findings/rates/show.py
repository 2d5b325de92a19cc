"""The learning-rate law as people, machines and eyes read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.rates.best import NotShown, RateEstimate
from batchfront.study.findings.rates.law import LAWS, RateLaw
from batchfront.study.show import SMALL, plain_table, said_by_reason, trials_word

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from rich.table import Table

Estimates = Mapping[int, RateEstimate | NotShown]
EDGES = {None: "", "low": "≤", "high": "≥"}  # of the tried rates, at which the best lies
COLUMNS = ("size", "best rate", "best, 95%", "usable, median", "tried", "runs")
CLEARLY_BEYOND = 1.1  # times a usable rate: less is what drawing between tried rates changes
COLOURS = {"square-root scaling": "#0f766e", "linear scaling": "#7c3aed"}


def rates_table(estimates: Estimates) -> Table:
    """`rates`: one batch size a line, of those whose rate is shown."""
    table = plain_table("", [(name, "right") for name in COLUMNS])
    for size, found in estimates.items():
        if not isinstance(found, NotShown):
            table.add_row(
                str(size),
                EDGES[found.edge] + _rate(found.best),
                _span(found.low, found.high),
                _span(*found.usable),
                _span(*found.tried),
                str(found.n_runs),
            )
    return table


def left_out_line(estimates: Estimates) -> str | None:
    """Which sizes are not shown, and why; None where all are."""
    reasons = {size: e.reason for size, e in estimates.items() if isinstance(e, NotShown)}
    return f"not shown: {said_by_reason(reasons)}" if reasons else None


def edge_line(estimates: Estimates) -> str | None:
    """What the marks of an edge mean; None where there is none."""
    marked = any(isinstance(e, RateEstimate) and e.at_edge for e in estimates.values())
    return "≤, ≥: nothing clearly worse was tried on that side of the best rate" if marked else None


def meaning_lines(estimates: Estimates, lost: str) -> list[str]:
    """What the two ranges of a size say: how well its best rate is known, and which rates will do.

    Neither bounds the other. `lost`: what a usable rate may lose, such as `0.01 of val_accuracy`.
    """
    known = {size: e for size, e in estimates.items() if isinstance(e, RateEstimate)}
    if not known:
        return []
    lines = [
        "best, 95%: where the best rate may lie; usable, median: the rates that as likely as not "
        f"lose at most {lost} against the best tried one"
    ]
    vague = [str(size) for size, found in known.items() if _is_vague(found)]
    if vague:
        lines.append(
            f"the first reaches beyond the second at batch size {', '.join(vague)}: too few runs "
            "to say where the best lies; stay within the usable rates, more runs narrow both"
        )
    return lines


def _is_vague(found: RateEstimate) -> bool:
    """Whether the best rate may lie clearly outside of what is taken to be usable."""
    low, high = found.usable
    return low / found.low > CLEARLY_BEYOND or found.high / high > CLEARLY_BEYOND


def trial_lines(estimates: Estimates) -> list[str]:
    """Which trials the figures of each size are of."""
    return [f"{size}: {trials_word(found.trials)}" for size, found in estimates.items()]


def _span(low: float, high: float) -> str:
    return f"{_rate(low)}..{_rate(high)}"


def _rate(rate: float) -> str:
    """Two digits in at most six letters, so that a table fits 80 columns: `0.021`, `2.1e-4`."""
    text = f"{rate:.2g}" if rate >= SMALL else f"{rate:.1e}"
    return text.replace("e-0", "e-").replace("e+0", "e+")


def law_sentence(law: RateLaw | NotShown) -> str:
    """What the study says of the exponent."""
    if isinstance(law, NotShown):
        return f"no law is shown: {law.reason}"
    agrees = law.agrees
    beside = "; ".join(
        f"{name} ({exponent:g}) {'lies in' if agrees[name] else 'is outside of'} it"
        for name, exponent in LAWS.items()
    )
    return (
        f"the best rate grows with batch size to the power of {law.exponent:.2f} "
        f"(95% interval {law.low:.2f} to {law.high:.2f}, {law.n_sizes} sizes): {beside}"
    )


def rates_json(estimates: Estimates, law: RateLaw | NotShown) -> dict[str, Any]:
    """The estimates and the law as JSON for machines."""
    return {
        "sizes": [{"batch_size": size, **_size_json(e)} for size, e in estimates.items()],
        "law": {"status": "not_shown", "reason": law.reason}
        if isinstance(law, NotShown)
        else {
            "status": "shown",
            "exponent": law.exponent,
            "interval": [law.low, law.high],
            "rate_at_1": law.rate_at_1,
            "n_sizes": law.n_sizes,
            "at_edge": list(law.at_edge),
            "agrees": law.agrees,
        },
    }


def _size_json(found: RateEstimate | NotShown) -> dict[str, Any]:
    if isinstance(found, NotShown):
        return {
            "status": "not_shown",
            "reason": found.reason,
            "trials": list(found.trials),
        }
    return {
        "status": "shown",
        "best": found.best,
        "interval": [found.low, found.high],
        "error": found.error,
        "edge": found.edge,
        "usable": list(found.usable),
        "usable_decades": found.decades,
        "usable_decades_interval": list(found.usable_decades),
        "tried": list(found.tried),
        "n_runs": found.n_runs,
        "n_rates": found.n_rates,
        "trials": list(found.trials),
    }


def rates_figure(estimates: Estimates, law: RateLaw | NotShown, lost: str) -> go.Figure:
    """Best rates with intervals and usable ranges over batch size, beside the known laws.

    `lost`: what a usable rate may lose.
    """
    import plotly.graph_objects as go

    known = {size: e for size, e in estimates.items() if isinstance(e, RateEstimate)}
    sizes, found = list(known), list(known.values())
    figure = go.Figure()
    gaps: tuple[list[float | None], list[float | None]] = ([], [])
    for size, e in known.items():
        gaps[0].extend((size, size, None))
        gaps[1].extend((*e.usable, None))
    figure.add_scatter(
        x=gaps[0], y=gaps[1], mode="lines", name=f"usable, median: loses at most {lost}",
        line={"width": 9, "color": "#fdba74"},
    )  # fmt: skip
    figure.add_scatter(
        x=sizes,
        y=[e.best for e in found],
        mode="markers",
        name="best rate, 95% interval",
        marker={"size": 8, "color": "#c2410c", "symbol": [_symbol(e) for e in found]},
        error_y={
            "array": [e.high - e.best for e in found],
            "arrayminus": [e.best - e.low for e in found],
            "symmetric": False,
        },
    )
    if isinstance(law, RateLaw):
        _add_lines(figure, sizes, law)
    ticks = {"type": "log", "tickvals": sizes, "ticktext": [str(size) for size in sizes]}
    figure.update_layout(
        title="Best learning rate by batch size",
        xaxis={"title": "batch size", **ticks},
        yaxis={"title": "learning rate", "type": "log", "dtick": 1, "exponentformat": "power"},
        height=520,
    )
    return figure


def _symbol(found: RateEstimate) -> str:
    return "circle-open" if found.at_edge else "circle"


def _add_lines(figure: go.Figure, sizes: list[int], law: RateLaw) -> None:
    """The law found, and the known ones through its middle."""
    import math

    middle = math.sqrt(sizes[0] * sizes[-1])
    figure.add_scatter(
        x=sizes,
        y=[law.rate(size) for size in sizes],
        mode="lines",
        name=f"power {law.exponent:.2f} ({law.low:.2f} to {law.high:.2f})",
        line={"color": "#c2410c"},
    )
    for name, exponent in LAWS.items():
        figure.add_scatter(
            x=sizes,
            y=[law.rate(middle) * (size / middle) ** exponent for size in sizes],
            mode="lines",
            name=name,
            line={"dash": "dot", "color": COLOURS[name]},
        )
