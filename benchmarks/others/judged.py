"""One published table: what the verbs say of it, and what a plain search of it says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from batchfront.objectives.metric import LOSS
from batchfront.study.api.look import LookedAt, answers
from batchfront.study.findings.critical.fit import Critical, critical_batch
from batchfront.study.findings.critical.to_target import to_target
from batchfront.study.findings.rates.best import RateEstimate
from batchfront.study.findings.rates.law import RateLaw, rate_estimates, rate_law
from batchfront.study.smallest.answer import Asking, recorded_answer
from batchfront.study.trials.rows import runs_of
from batchfront.study.trials.yardstick import standard
from benchmarks.others.imported import imported
from benchmarks.others.step_law import NAMES, Grid

if TYPE_CHECKING:
    from batchfront.study.smallest.single import SingleRuns
    from benchmarks.others.reference_points import Points

SHARES = (0.005, 0.01, 0.02)  # of the best loss
OVERHEAD = 0.2
Row = dict[str, Any]


def smallest_rows(grid: Grid) -> Iterator[Row]:
    """What `smallest` says of a grid of single runs, at each share of the best loss."""
    with imported(grid.rows, NAMES, LOSS) as whole:
        halves = grid.halves()
        with (
            imported(halves[0].rows, NAMES, LOSS) as one,
            imported(halves[1].rows, NAMES, LOSS) as other,
        ):
            for share in SHARES:
                yield _smallest_row(grid, share, whole, (one, other))


def _smallest_row(
    grid: Grid, share: float, whole: LookedAt, halves: tuple[LookedAt, LookedAt]
) -> Row:
    target = grid.least * (1 + share)
    good = [size for size, (loss, _) in grid.best.items() if loss <= target]
    seen = _single(whole, target)
    return {
        "grid": grid.name,
        "share": share,
        "truth": good[0],
        "answer": None if seen is None else seen.answer,
        "verdict": verdict(seen, good[0], exactly=True),
        "halves": [verdict(_single(half, target), good[0]) for half in halves],
        "frozen": "not shown" if seen is None else _compared(seen.frozen_answer, good[0]),
    }


def _single(looked: LookedAt, target: float) -> SingleRuns | None:
    return recorded_answer(looked.study, Asking(target=target, within=None)).single


def verdict(seen: SingleRuns | None, truth: int, *, exactly: bool = False) -> str:
    """exact, bounded, too large, too small, or not shown; `exactly`: all runs are there."""
    if seen is None or seen.answer is None:
        return "not shown"
    if seen.answer == truth:
        return "exact"
    low = math.inf if seen.smallest is None else seen.smallest
    high = math.inf if seen.largest is None else seen.largest
    if not exactly and low <= truth <= high:
        return "bounded"
    return "too large" if seen.answer > truth else "too small"


def _compared(answer: int | None, truth: int) -> str:
    if answer is None:
        return "none"
    return "the same" if answer == truth else "larger" if answer > truth else "smaller"


def grid_row(grid: Grid) -> Row:
    """What `rates` and `advise` say of a grid."""
    with imported(grid.rows, NAMES, LOSS) as looked:
        row = {"grid": grid.name, **_rates(grid, looked), **_advice(grid, looked)}
    shown = covered = 0
    for half in grid.halves():
        with imported(half.rows, NAMES, LOSS) as looked:
            found = _rates(grid, looked)
        shown, covered = shown + found["sizes"], covered + found["covered"]
    return {**row, "sizes_of_halves": shown, "covered_by_halves": covered}


def _rates(grid: Grid, looked: LookedAt) -> Row:
    by = looked.names.yardstick(looked.trials)
    found = rate_estimates(runs_of(standard(looked.trials, by), looked.names))
    law = rate_law(found)
    known = {size: one for size, one in found.items() if isinstance(one, RateEstimate)}
    rates = sorted({rate for _, rate in grid.losses})
    slack = math.sqrt(min(b / a for a, b in pairwise(rates)))
    inside = [e.low / slack <= grid.best[b][1] <= e.high * slack for b, e in known.items()]
    plain = _theil_sen_of_rates(grid)
    is_law = isinstance(law, RateLaw)
    return {
        "sizes": len(known),
        "not_shown": len(found) - len(known),
        "covered": sum(inside),
        "at_edge": sum(one.at_edge for one in known.values()),
        "exponent": law.exponent if is_law else None,
        "interval": [round(law.low, 2), round(law.high, 2)] if is_law else [],
        "theil_sen": plain,
        "law_agrees": bool(is_law and plain is not None and law.low <= plain <= law.high),
    }


def _theil_sen_of_rates(grid: Grid) -> float | None:
    """The exponent by which best rates grow with size; None where fewer than two sizes tell one.

    Sizes whose best rate is an end of those that were tried tell none.
    """
    from scipy.stats import theilslopes

    known = {}
    for size, (_, rate) in grid.best.items():
        tried = [r for b, r in grid.losses if b == size]
        if min(tried) < rate < max(tried):
            known[size] = rate
    if len(known) < 2:
        return None
    slope = theilslopes([math.log(r) for r in known.values()], [math.log(b) for b in known])[0]
    return float(slope)


def _advice(grid: Grid, looked: LookedAt) -> Row:
    ((answer, known),) = answers(looked, prefer="fast", within=None).values()
    inside, regret = 0, math.inf
    shown = [size for size in answer.sizes if size.estimate is not None]
    for size in shown:
        rates = [rate for b, rate in grid.losses if b == size.batch_size]
        at = size.shown.learning_rate
        near = min(rates, key=lambda rate, at=at: abs(math.log(rate / at)))  # type: ignore[misc]
        loss = grid.losses[size.batch_size, near]
        low, high = known.yardstick.own_ends(*(1 - error for error in size.shown.fresh_run))
        inside += low <= loss <= high
        if size is answer.recommended:
            regret = loss / grid.least - 1
    return {"advised": len(shown), "fresh_run_inside": inside, "regret": regret}


def critical_row(table: Points) -> Row:
    """What `critical-batch` says of a table of reference points."""
    with imported(table.rows) as looked:
        data = to_target(runs_of(looked.trials, looked.names), None)
    found = critical_batch(data.sizes, resolution=data.resolution)
    plain = _plain(found)
    row = {
        "table": table.name,
        "sizes": len(data.sizes),
        "line": "shown" if found.line else "a curve" if found.curve else "refused",
        "b_crit": None if found.line is None else found.line.b_crit.value,
        "theil_sen": plain,
        "off": None,
        "covers": None,
        **_measured(found),
        "reason": found.reason.partition(":")[0],
    }
    if found.line is not None:
        b_crit = found.line.b_crit
        row |= {"off": b_crit.value / plain - 1, "covers": b_crit.low <= plain <= b_crit.high}
    return row


def _plain(found: Critical) -> float:
    """The critical size of Theil and Sen's line through the medians."""
    from scipy.stats import theilslopes

    medians = {r.runs.batch_size: median(r.runs.to_target) for r in found.sizes if r.median}
    slope, start = theilslopes(list(medians.values()), list(medians))[:2]
    return float(start / slope) if slope else math.inf


def _measured(found: Critical) -> Row:
    """The cheapest size, and the largest within a fifth of it, by a plain search too."""
    medians = {r.runs.batch_size: median(r.runs.to_target) for r in found.sizes if r.median}
    cheapest = min(medians, key=lambda size: (medians[size], size))
    most = max(b for b, cost in medians.items() if cost <= (1 + OVERHEAD) * medians[cheapest])
    seen = found.measured
    right = seen is not None and (seen.cheapest, seen.within_fifth) == (cheapest, most)
    return {"cheapest": cheapest, "within_fifth": most, "measured_right": right}
