"""The critical batch size, from what each batch size took to reach a target.

Small batches pay with steps, large ones with examples: E(B) = E_min (1 + B / B_crit), a straight
line in B (arXiv:1812.06162, equation 2.11, solved for the examples E). Nothing here knows studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchfront.study.findings.critical.curve import Curve, curve_of
from batchfront.study.findings.critical.medians import (
    MIN_SIZES,
    contradiction,
    counted_too_coarsely,
    gather,
    grows,
    interval,
    scatter_of,
    straight_lines,
    widened,
)
from batchfront.study.findings.critical.single import SingleLine, single_line
from batchfront.study.show import counted

if TYPE_CHECKING:
    from batchfront.study.findings.critical.medians import Array, Medians

MIN_SEEDS = 3  # of a size, for a bootstrap
OVERHEAD = 0.2  # E(B) = (1 + OVERHEAD) E_min at B = OVERHEAD * B_crit


@dataclass(frozen=True, kw_only=True)
class SizeRuns:
    """The runs of one batch size at one learning rate."""

    batch_size: int
    learning_rate: float
    to_target: tuple[float, ...]  # epochs, examples or tokens of each; inf: never
    trials: tuple[int, ...] = ()  # their numbers

    @property
    def n_reached(self) -> int:
        """Runs that got there."""
        return sum(cost < float("inf") for cost in self.to_target)

    @property
    def is_infeasible(self) -> bool:
        """Whether half of the runs or more did not get there: then it has no best rate either."""
        return 2 * self.n_reached <= len(self.to_target)

    @property
    def left_out(self) -> str:
        """Why no line can use it; "" where it can."""
        n = len(self.to_target)
        if self.is_infeasible:  # else the median is one of a run that got there
            return f"infeasible: {self.n_reached} of {n} runs reached the target"
        return f"{counted(n, 'run')}, wanted at least {MIN_SEEDS}" if n < MIN_SEEDS else ""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        """The estimate in another unit, of which `factor` make one of the present unit."""
        return Estimate(value=factor * self.value, low=factor * self.low, high=factor * self.high)


@dataclass(frozen=True, kw_only=True)
class SizeFit:
    """One batch size beside the line."""

    runs: SizeRuns
    median: Estimate | None = None  # None: left out, see `runs.left_out`
    fitted: float | None = None
    miss: float | None = None  # of the line through the other sizes: predicted / median - 1


@dataclass(frozen=True, kw_only=True)
class FittedLine:
    """E(B) = e_min (1 + B / b_crit)."""

    e_min: Estimate  # epochs, examples or tokens
    b_crit: Estimate  # examples in a batch
    s_min: Estimate  # e_min / b_crit: in steps where e_min is in examples
    replicates: tuple[Array, Array] = field(repr=False)  # intercepts and slopes of the bootstrap
    curve: Curve | None = None  # where the sizes tell something of other shapes

    @property
    def overhead_20(self) -> Estimate:
        """The batch size that takes a fifth more examples than the smallest ones; at least 1.

        Its interval is that of a line, and of the other shapes that the runs allow.
        """
        found = self.b_crit.times(OVERHEAD)
        ends = [found.low, found.high]
        if self.curve is not None:
            ends += [self.curve.fifth_low, self.curve.fifth_high]
        low, value, high = (max(1.0, size) for size in (min(ends), found.value, max(ends)))
        return Estimate(value=value, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The cheapest of the sizes tried, and the largest that takes at most a fifth more than it."""

    cheapest: int
    least: float  # what it takes
    within_fifth: int
    more: float  # what that one takes more, as a share


@dataclass(frozen=True, kw_only=True)
class Critical:
    """What the runs say: a line, or the reason why none is shown."""

    sizes: list[SizeFit]
    line: FittedLine | None = None
    curve: Curve | None = None  # in place of a line, where the runs show that there is none
    single: SingleLine | None = None  # a weaker answer, where sizes lack seeds for a line
    reason: str = ""
    at_least: float | None = None  # of the critical size, where that is all that can be said
    at_most: float | None = None
    loo_error: float | None = None  # mean of |miss|
    scatter: float | None = None  # of sizes around the line, relative, beyond that of seeds

    @property
    def measured(self) -> Measured | None:
        """What the sizes that were tried say by themselves; None where none can be used."""
        known = {r.runs.batch_size: r.median.value for r in self.sizes if r.median is not None}
        if not known:
            return None
        cheapest = min(known, key=lambda size: known[size])
        near = [size for size in known if known[size] <= (1 + OVERHEAD) * known[cheapest]]
        largest = max(near)
        return Measured(
            cheapest=cheapest,
            least=known[cheapest],
            within_fifth=largest,
            more=known[largest] / known[cheapest] - 1,
        )


def critical_batch(
    sizes: Sequence[SizeRuns],
    *,
    resolution: float = 0.0,
    of_steps: bool = False,
    seed: int = 0,
) -> Critical:
    """Fit the line through the medians of the sizes, or say why that cannot be done.

    Medians, so that one bad seed moves nothing, and a minority of runs that never reached the
    target (their costs are known from below only) is counted as what it is.

    Args:
        sizes: one for each batch size.
        resolution: costs are known up to this much, as epochs are counted whole.
        of_steps: up to so many times the batch size, as where runs are given equal steps.
        seed: of the bootstrap.
    """
    import numpy as np

    sizes = sorted(sizes, key=lambda runs: runs.batch_size)
    used = [runs for runs in sizes if not runs.left_out]
    rows = [SizeFit(runs=runs) for runs in sizes]
    if len(used) < MIN_SIZES:
        return _too_few(rows, n_used=len(used), seed=seed)
    rng = np.random.default_rng(seed)
    costs = [(runs.batch_size, runs.to_target) for runs in used]
    evidence = gather(costs, rng, resolution, of_steps=of_steps)
    line = straight_lines(evidence.sizes, evidence.medians[None])
    fitted = line[0] + line[1] * evidence.sizes
    scatter = scatter_of(evidence, fitted)
    rows = _rows(rows, evidence, fitted)
    found = Critical(
        sizes=rows,
        loo_error=float(np.abs(evidence.misses[0]).mean()),
        scatter=scatter,
    )
    coarse = counted_too_coarsely(evidence)
    curve = None if coarse else curve_of(evidence, rng)
    if curve is not None and curve.is_bent:
        return replace(found, curve=curve, reason=_bent(curve))
    against = coarse or contradiction(evidence)
    if against:
        return replace(found, reason=against)
    noise = np.exp(widened(scatter, len(used)) * rng.standard_normal(evidence.replicates.shape))
    lines = straight_lines(evidence.sizes, evidence.replicates * noise)
    return _estimated(found, evidence, line, lines, curve)


def _too_few(rows: list[SizeFit], *, n_used: int, seed: int) -> Critical:
    """What single runs tell, where too few sizes have seeds enough for a line."""
    reason = (
        f"{n_used} of {len(rows)} batch sizes can be used, a line wants {MIN_SIZES}: give "
        f"each at least {MIN_SEEDS} seeds at its best learning rate, or choose an easier target"
    )
    costs_of_one = [(row.runs.batch_size, min(row.runs.to_target)) for row in rows]
    return Critical(reason=reason, sizes=rows, single=single_line(costs_of_one, seed=seed))


def inverse_b_crit(start: Array, slope: Array) -> Array:
    """1 / B_crit of lines; inf where one leaves the axis at or below 0."""
    import numpy as np

    above = start > 0
    return np.where(
        np.isnan(start), np.nan, np.where(above, slope / np.where(above, start, 1), np.inf)
    )


def _rows(rows: list[SizeFit], evidence: Medians, fitted: Array) -> list[SizeFit]:
    numbers = iter(range(len(evidence.sizes)))
    filled = []
    for row in rows:
        if row.runs.left_out:
            filled.append(row)
            continue
        k = next(numbers)
        median = _estimate(float(evidence.medians[k]), interval(evidence.replicates[:, k]))
        miss = float(evidence.misses[0, k])
        filled.append(replace(row, median=median, fitted=float(fitted[k]), miss=miss))
    return filled


def _bent(curve: Curve) -> str:
    return (
        "the costs are no straight line in the batch size, so no one critical size describes "
        f"them: what they take beyond the least grows as its power {curve.exponent:.2g} "
        f"({curve.low:.2g} to {curve.high:.2g})"
    )


def _estimated(
    found: Critical,
    evidence: Medians,
    line: tuple[Array, Array],
    lines: tuple[Array, Array],
    curve: Curve | None,
) -> Critical:
    """Estimates with intervals where the slope is clearly positive, else the bound it gives."""
    e_min, slope = (float(part[0]) for part in line)
    low, high = interval(inverse_b_crit(*lines))
    if low <= 0:
        at_least = 1 / high if 0 < high < float("inf") else None
        bound = f"; B_crit is at least {at_least:,.0f}" if at_least else ""
        reason = (
            f"the costs do not clearly grow with the batch size{bound}: run larger sizes, or more "
            "seeds"
        )
        if grows(evidence):
            reason = (
                f"the costs grow with the batch size, but {counted(len(evidence.sizes), 'size')} "
                f"do not say along which line, as they lie {found.scatter or 0:.0%} off the "
                f"nearest{bound}: run sizes in between"
            )
        return replace(found, reason=reason, at_least=at_least)
    if high == float("inf") or e_min <= 0:
        reason = (
            "the costs grow in proportion to the batch size, so all sizes may lie beyond the "
            f"critical one; B_crit is at most {1 / low:,.0f}: run smaller sizes"
        )
        return replace(found, reason=reason, at_most=1 / low)
    shown = FittedLine(
        e_min=_estimate(e_min, interval(lines[0])),
        b_crit=_estimate(e_min / slope, (1 / high, 1 / low)),
        s_min=_estimate(slope, interval(lines[1])),
        replicates=lines,
        curve=curve,
    )
    return replace(found, line=shown)


def _estimate(value: float, bounds: tuple[float, float]) -> Estimate:
    return Estimate(value=value, low=bounds[0], high=bounds[1])
