"""What `critical-batch` says: a sentence, a table, caveats, and the same for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.critical.curve import Curve
from batchfront.study.findings.critical.fit import Critical, Estimate, FittedLine, SizeFit
from batchfront.study.findings.critical.medians import LEVEL
from batchfront.study.findings.critical.single import SingleLine
from batchfront.study.findings.critical.to_target import ToTarget
from batchfront.study.show import plain_table, said_by_reason, short_number

if TYPE_CHECKING:
    from rich.table import Table

ASSUMPTIONS = (
    "the critical batch size of SGD and its like (arXiv:1812.06162), for this target, and only if "
    "the learning rate was tuned at every size (arXiv:1811.03600)"
)

NO_NOISE_SCALE = (
    "where updates are those of Adam, of signs, or orthogonalised, the noise scale of gradients is "
    "not the critical batch size (arXiv:2505.23971): only runs measure it"
)


def sentence(found: Critical, data: ToTarget) -> str:
    """The answer, or why there is none; what was measured comes before what is extrapolated."""
    line = found.line
    if line is None:
        curve = "" if found.curve is None else f"; {_by_curve(found.curve, data)}"
        single = "" if found.single is None else f"; {_by_single_runs(found.single)}"
        return f"{_measured(found, data)}not shown: {found.reason}{curve}{single}"
    steps = _steps(line, data)
    fewest = f"; no batch size takes fewer than {short_number(steps.value)} steps" if steps else ""
    return (
        f"{_measured(found, data)}the critical batch size is {_spelled(line.b_crit)}; up to batch "
        f"size {_spelled(line.overhead_20)} the target takes at most a fifth more than the least "
        f"of all sizes, tried or not, {_spelled(line.e_min)} {data.unit}{fewest} (in brackets: "
        f"{LEVEL:.0%} intervals)"
    )


def _by_single_runs(seen: SingleLine) -> str:
    low, high = short_number(seen.low), short_number(seen.high)
    bounds = f"at least {low}" if seen.high == float("inf") else f"{low} to {high}"
    return (
        f"a weaker answer: on single runs, at the best rate of each of {seen.n_sizes} sizes, it is "
        f"about {short_number(seen.b_crit)} ({bounds}), if costs follow a line and scatter by "
        f"{seen.noise:.0%} around it"
    )


def _measured(found: Critical, data: ToTarget) -> str:
    """`measured: 32 takes the least, 20 epochs; up to 128 at most a fifth more (+18%). `"""
    seen = found.measured
    if seen is None:
        return ""
    line = (
        f"measured: batch size {seen.cheapest} takes the least, {short_number(seen.least)} "
        f"{data.unit}"
    )
    if seen.within_fifth > seen.cheapest:
        line += f", and {seen.within_fifth} {seen.more:.0%} more, the largest within a fifth of it"
    return f"{line}. By a line through all sizes: "


def _by_curve(curve: Curve, data: ToTarget) -> str:
    low, high = short_number(curve.fifth_low), short_number(curve.fifth_high)
    least = f"{short_number(curve.e_min_low)} to {short_number(curve.e_min_high)}"
    return (
        f"by that curve, sizes up to {short_number(curve.fifth)} ({low} to {high}) take at most a "
        f"fifth more than the least of all sizes, tried or not, {short_number(curve.e_min)} "
        f"({least}) {data.unit}"
    )


def caveats(found: Critical, data: ToTarget) -> list[str]:
    """What the numbers do not cover."""
    used = [row for row in found.sizes if not row.runs.left_out]
    lines = []
    if found.loo_error is not None:
        lines.append(
            f"the line through the other sizes misses a size by {found.loo_error:.1%} on average"
        )
    if found.scatter:
        lines.append(
            f"sizes scatter around the line by {found.scatter:.1%} more than their seeds explain; "
            "the intervals count that as noise of sizes"
        )
    if data.resolution and found.sizes:
        lines += _on_resolution(used, data)
    if found.line is not None:
        lines += _on_reach(found.line, [row.runs.batch_size for row in used])
    left = {row.runs.batch_size: row.runs.left_out for row in found.sizes if row.runs.left_out}
    if left:
        lines.append(f"left out: {said_by_reason(left)}")
    if data.n_rates > 1:
        lines.append(
            "each size stands at the best of its learning rates, chosen by these same runs: its "
            "cost reads too low, and the intervals do not cover that choice"
        )
    if data.at_edge:
        sizes = ", ".join(map(str, data.at_edge))
        lines.append(
            f"the best learning rate is the smallest or largest tried at batch size {sizes}: "
            "extend the range"
        )
    return [*lines, f"this is {ASSUMPTIONS}", NO_NOISE_SCALE]


def _on_resolution(used: Sequence[SizeFit], data: ToTarget) -> list[str]:
    known = {row.runs.batch_size: row.median.value for row in used if row.median is not None}
    if not known:
        return []
    if data.of_steps:
        shares = {size: data.resolution * size / cost for size, cost in known.items()}
        said = f"{short_number(data.resolution)} {data.unit} times the batch size"
        worst = f"{max(shares.values()):.0%} of what the worst known size takes"
        read = "read too high by half of it, and the critical size too low"
    else:
        said = f"{short_number(data.resolution)} {data.unit}"
        said = "epoch" if data.unit == "epochs" and data.resolution == 1 else said
        worst = f"{data.resolution / min(known.values()):.0%} of the least"
        read = "and the critical size read too high by half of it"
    return [
        f"costs are counted every {said}, {worst}: runs get "
        "there up to that much sooner; the intervals cover the rounding, but not that all costs "
        f"{read}"
    ]


def _on_reach(line: FittedLine, sizes: Sequence[int]) -> list[str]:
    names = {"the critical batch size": line.b_crit, "that of 20% more": line.overhead_20}
    far = [name for name, e in names.items() if not min(sizes) <= e.value <= max(sizes)]
    verb = "lie" if len(far) > 1 else "lies"
    return [f"{' and '.join(far)} {verb} outside the sizes tried: extrapolated"] if far else []


def critical_table(found: Critical, data: ToTarget) -> Table:
    """One batch size a line."""
    columns = ("batch size", "learning rate", "reached", data.unit, f"{LEVEL:.0%}", "line", "miss")
    table = plain_table("", [(name, "right") for name in columns])
    for row in found.sizes:
        runs, median = row.runs, row.median
        table.add_row(
            str(runs.batch_size),
            "-" if runs.is_infeasible else f"{runs.learning_rate:.3g}",
            f"{runs.n_reached} of {len(runs.to_target)}",
            "-" if median is None else short_number(median.value),
            "-" if median is None else f"{short_number(median.low)} to {short_number(median.high)}",
            "-" if row.fitted is None else short_number(row.fitted),
            "-" if row.miss is None else f"{row.miss:+.1%}",
        )
    return table


def as_json(found: Critical, data: ToTarget, target: float | None) -> dict[str, Any]:
    """The answer for machines. Estimates are null unless `status` is `shown`."""
    line = found.line
    estimates: dict[str, Estimate | None] = dict.fromkeys(
        ("e_min", "b_crit", "overhead_20", "s_min")
    )
    if line is not None:
        found_ = (line.e_min, line.b_crit, line.overhead_20, _steps(line, data))
        estimates = dict(zip(estimates, found_, strict=True))
    answer: dict[str, Any] = {
        "status": "shown" if line else "not_shown",
        "reason": found.reason,
        "target": target,
        "unit": data.unit,
    }
    for name, estimate in estimates.items():
        answer[name] = None if estimate is None else estimate.value
        answer[f"{name}_interval"] = None if estimate is None else _bounds(estimate)
    return {
        **answer,
        "b_crit_at_least": found.at_least,
        "b_crit_at_most": found.at_most,
        "measured": None if found.measured is None else asdict(found.measured),
        "curve": None if found.curve is None else asdict(found.curve),
        "single_runs": None if found.single is None else _single(found.single),
        "loo_error": found.loo_error,
        "scatter": found.scatter,
        "caveats": caveats(found, data),
        "rows": [_row(row) for row in found.sizes],
    }


def _row(row: SizeFit) -> dict[str, Any]:
    runs = row.runs
    return {
        "batch_size": runs.batch_size,
        "learning_rate": None if runs.is_infeasible else runs.learning_rate,
        "trials": list(runs.trials),
        "n_runs": len(runs.to_target),
        "n_reached": runs.n_reached,
        "left_out": runs.left_out or None,
        "to_target": None if row.median is None else row.median.value,
        "to_target_interval": None if row.median is None else _bounds(row.median),
        "fitted": row.fitted,
        "miss": row.miss,
    }


def _single(seen: SingleLine) -> dict[str, Any]:
    return {**asdict(seen), "high": seen.high if isfinite(seen.high) else None}


def _bounds(estimate: Estimate) -> list[float | None]:
    """JSON has no infinity: null where seeds do not bound a median."""
    return [bound if isfinite(bound) else None for bound in (estimate.low, estimate.high)]


def _steps(line: FittedLine, data: ToTarget) -> Estimate | None:
    """S_min in optimizer steps, where it is known how many examples a unit of costs is."""
    each = data.examples_per_unit
    return None if each is None else line.s_min.times(each)


def _spelled(estimate: Estimate) -> str:
    low, high = short_number(estimate.low), short_number(estimate.high)
    return f"{short_number(estimate.value)} ({low} to {high})"
