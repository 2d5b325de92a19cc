"""Does training end higher with small batches? At equal epochs, and at equal steps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from batchfront.study.findings.claims.claim import (
    CONFIDENCE,
    Claim,
    Runs,
    decided,
    not_shown,
)
from batchfront.study.findings.claims.shapes import turned
from batchfront.study.findings.rates.law import MIN_SIZES
from batchfront.study.findings.statistics.lines import fit_line
from batchfront.study.findings.statistics.shape import LEVEL, shape_of
from batchfront.study.findings.statistics.trends import mean_interval
from batchfront.study.show import counted

FINEST = 0.002  # of a standard value
MIN_PAIRS = 3  # of neighbours: their mean difference is judged by how much they scatter


def smaller_ends_higher(name: str, evidence: Runs) -> Claim:
    """The claim at equal epochs or examples.

    Whole runs are compared where these are what they were given; runs of equal steps are compared
    at B after all of their length with 2B after half of it.
    """
    if evidence.counts_steps:
        return _halves_compared(name, evidence, whole_is_smaller=True)
    return replace(_whole_runs_compared(name, evidence), chance=LEVEL)


def smaller_ends_higher_in_as_many_steps(name: str, evidence: Runs) -> Claim:
    """The claim at equal steps.

    B after half of its length is compared with 2B after all of it; where runs were given equal
    steps, whole runs are compared.
    """
    if evidence.counts_steps:
        return replace(_whole_runs_compared(name, evidence), chance=LEVEL)
    return _halves_compared(name, evidence, whole_is_smaller=False)


def _whole_runs_compared(name: str, evidence: Runs) -> Claim:
    """Error at each size's best rate over log2 of the size: agree where the slope is positive."""
    import numpy as np

    tuned = evidence.tuned
    left = evidence.left_out(tuned)
    if len(tuned) < MIN_SIZES:
        why = f"{len(tuned)} tuned batch sizes, wanted {MIN_SIZES}"
        return not_shown(name, why, left_out=left)
    x = np.log2(np.array(list(tuned), dtype=float))
    draws = np.array([e.error_draws for e in tuned.values()])
    line = fit_line(x, draws, finest=FINEST, seed=evidence.seed)
    low, high = line.interval(CONFIDENCE, strict=True)
    by = evidence.by
    best = {size: round(by.own(1 - e.error), 4) for size, e in tuned.items()}
    slope, ends = by.own_difference(-line.slope), sorted(map(by.own_difference, (-high, -low)))
    text = f"{by.metric} {slope:+.4f} per doubling ({ends[0]:+.4f} to {ends[1]:+.4f})"
    figures = {"tuned_metric": best, "per_doubling": [slope, *ends]}
    errors = {size: e.error for size, e in tuned.items()}
    shape = shape_of(errors, [float(d.std()) for d in draws], seed=evidence.seed)
    if shape.turn is not None:
        both = ", ".join(f"{best[size]:.4g} at {size}" for size in (min(best), max(best)))
        said = f"{by.metric} {both}, {best[shape.turn]:.4g}"
        return turned(name, shape, said, left, figures)
    return decided(name, low, high, text, figures, left)


def _halves_compared(name: str, evidence: Runs, *, whole_is_smaller: bool) -> Claim:
    """One of B and 2B after half of its length against the other after all of it, each at its own
    best rate. Agree: the mean difference of neighbours is in favour of B."""
    import numpy as np

    if not evidence.steady:
        return not_shown(
            name,
            "learning rate or batch size follow a schedule: half a run is none of half as long",
        )
    points = max((row.points or 0 for row in evidence.rows), default=0)
    draws, differences = [], {}
    for size in evidence.tuned:
        sizes = (2 * size, size) if whole_is_smaller else (size, 2 * size)
        half = evidence.tuned_at(sizes[0], points // 2) if points % 2 == 0 else None
        whole = evidence.tuned.get(sizes[1])
        if half is not None and whole is not None:
            sign = -1 if whole_is_smaller else 1
            draws.append(sign * (whole.error_draws - half.error_draws))
            better = evidence.by.own_difference(sign * (whole.error - half.error))
            differences[f"{size}-{2 * size}"] = round(better, 4)
    if len(draws) < MIN_PAIRS:
        return not_shown(
            name, f"{counted(len(draws), 'pair')} of tuned sizes B and 2B with curves at half of "
            f"{counted(points, evidence.point)}, wanted {MIN_PAIRS}",
            left_out=_lacking(evidence, differences),
        )  # fmt: skip
    low, high = mean_interval(np.array(draws), CONFIDENCE)
    own = evidence.by.own_difference
    ends, usual = sorted((own(low), own(high))), own(float(np.mean(draws)))
    said = f"({ends[0]:+.4f} to {ends[1]:+.4f})"
    text = f"B against 2B: {usual:+.4f} {evidence.by.metric} {said}"
    return decided(name, low, high, text, {"differences": differences, "interval": ends})


def _lacking(evidence: Runs, pairs: Collection[str]) -> dict[int, str]:
    """Why the tuned sizes that are in no pair are left out, and those that are not tuned."""
    paired = {int(size) for pair in pairs for size in pair.split("-")}
    why = "no tuned neighbour, or no curve at half of its length that says its best rate"
    return evidence.left_out(paired, why)
