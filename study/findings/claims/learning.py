"""Beliefs about the metric, spikes and curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from batchfront.study.findings.claims.claim import (
    AGREE,
    CONFIDENCE,
    DISAGREE,
    Claim,
    Rule,
    Runs,
    decided,
    metric_at,
    not_shown,
)
from batchfront.study.findings.rates.best import RateEstimate
from batchfront.study.findings.rates.law import MIN_SIZES
from batchfront.study.findings.statistics.lines import fit_line
from batchfront.study.findings.statistics.shape import LEVEL, Shape, mean_ranks, shape_of
from batchfront.study.findings.statistics.shape import MIN_SIZES as MIN_SIZES_OF_SHAPE
from batchfront.study.findings.statistics.trends import (
    mean_interval,
    rank_correlation,
    within_correlation,
)
from batchfront.study.trials.rows import RunRow

FINEST = 0.002  # of a standard value
BARELY = 0.01  # of standard values: sizes that differ by less barely differ
EARLY_EPOCHS, EARLY_SHARE = 2, 0.1
PREDICTS = 0.5  # rank correlation from which on the early regime predicts the end
MIN_RUNS = 20
MIN_PAIRS = 3  # of neighbours: their mean difference is judged by how much they scatter
MIN_SEEDS = 3  # runs of a size


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
        return _turned(name, shape, said, left, figures)
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
            name, f"{len(draws)} pairs of tuned sizes B and 2B with curves at half of "
            f"{points} {evidence.point}s, wanted {MIN_PAIRS}",
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


def gap_grows(name: str, evidence: Runs) -> Claim:
    """Train minus validation metric of runs at usable rates: agree where it rises with size."""
    return _trend(
        name, evidence, lambda row: row.generalization_gap, sign=1, what="generalization gap"
    )


def small_batches_spike(
    name: str, evidence: Runs, *, per: Callable[[RunRow], float | None], unit: str
) -> Claim:
    """Loss spikes of runs at usable rates: agree where they fall with size."""

    def rate(row: RunRow) -> float | None:
        amount = per(row)
        return row.n_spikes / amount if amount and row.n_spikes is not None else None

    counted = [row.n_spikes for row in evidence.tuned_rows if row.n_spikes is not None]
    if counted and not any(counted):
        return not_shown(name, f"none of {len(counted)} tuned runs spiked")
    return _trend(name, evidence, rate, sign=-1, what=f"spikes {unit}")


def larger_is_faster_to_target(name: str, evidence: Runs) -> Claim:
    """Training seconds to the target of runs at usable rates: agree where they fall with size. One
    that never reaches it takes longer than any."""
    target = evidence.standard_target
    if target is None:
        return not_shown(name, "give --target")

    def seconds(row: RunRow) -> float | None:
        if row.point_seconds is None or not row.curve:
            return None
        points = row.points_to(target)
        return math.inf if points is None else points * row.point_seconds

    curves = [row for row in evidence.tuned_rows if row.curve]
    if curves and all(row.points_to(target) is None for row in curves):
        return not_shown(name, f"no tuned run reaches {evidence.target:g}")
    return _trend(name, evidence, seconds, sign=-1, what="seconds to the target")


def _trend(
    name: str,
    evidence: Runs,
    figure: Callable[[RunRow], float | None],
    *,
    sign: int,
    what: str,
) -> Claim:
    """A claim on the shape of a figure over batch sizes, with the chance that it errs."""
    return replace(_shape(name, evidence, figure, sign=sign, what=what), chance=LEVEL)


def _shape(
    name: str,
    evidence: Runs,
    figure: Callable[[RunRow], float | None],
    *,
    sign: int,
    what: str,
) -> Claim:
    """The shape of mean ranks over batch sizes, by permutation of sizes."""
    values: dict[int, list[float]] = {}
    for row in evidence.tuned_rows:
        value = figure(row)
        if value is not None:
            values.setdefault(row.batch_size, []).append(value)
    known = {size: v for size, v in sorted(values.items()) if len(v) >= MIN_SEEDS}
    left = evidence.left_out(known, f"under {MIN_SEEDS} tuned runs that say it")
    if len(known) < MIN_SIZES_OF_SHAPE:
        return not_shown(
            name,
            f"{len(known)} batch sizes with {MIN_SEEDS} tuned runs that say their {what}, "
            f"wanted {MIN_SIZES_OF_SHAPE}",
            left_out=left,
        )
    shape = shape_of(*mean_ranks(known), seed=evidence.seed)
    means = {size: sum(v) / len(v) for size, v in known.items()}
    (smallest, first), *_, (largest, last) = means.items()
    text = f"{what} {_mean_word(first)} at {smallest}, {_mean_word(last)} at {largest}"
    finite = {size: mean if math.isfinite(mean) else None for size, mean in means.items()}
    figures = {"means": finite, "rank_correlation": shape.correlation, "p": shape.p_trend}
    if shape.turn is not None:
        return _turned(name, shape, f"{text}, {_mean_word(means[shape.turn])}", left, figures)
    text += f"; rank correlation {shape.correlation:+.2f}, p {shape.p_trend:.2g}"
    if not shape.trend:
        return not_shown(name, f"{text}: no clear trend", figures, left)
    verdict = AGREE if sign * shape.trend > 0 else DISAGREE
    return Claim(name=name, verdict=verdict, figures=figures, text=text, left_out=left)


def _turned(
    name: str, shape: Shape, text: str, left: Mapping[int, str], figures: Mapping[str, Any]
) -> Claim:
    """Neither direction holds where figures come back on both sides of a size in between."""
    extreme = "best" if shape.is_valley else "worst"
    figures = {**figures, extreme: shape.turn, "p_bend": shape.p_bend}
    text += f" at {shape.turn}, the {extreme}"
    if shape.is_bent:
        what = "a U-shape" if shape.is_valley else "an arch"
        text = f"{text}: {what}"
        return Claim(name=name, verdict=DISAGREE, figures=figures, text=text, left_out=left)
    why = f"{text}: neither a trend nor a U-shape is clear"
    return not_shown(name, why, figures, left)


def _mean_word(mean: float) -> str:
    return f"{mean:.3g}" if math.isfinite(mean) else "not by all"


def neighbours_barely_differ(name: str, evidence: Runs) -> Claim:
    """The metric of B and 2B, each at its best rate. Agree: all intervals lie within 0.01 (of
    standard values) of zero. Disagree: one lies beyond."""
    import numpy as np

    tuned = evidence.tuned
    pairs = [(size, 2 * size) for size in tuned if 2 * size in tuned]
    if len(pairs) < 2:
        paired = {size for pair in pairs for size in pair}
        left = evidence.left_out(paired, "tuned, but neither half nor twice of it is")
        why = f"{len(pairs)} pairs of tuned sizes B and 2B, wanted 2"
        return not_shown(name, why, left_out=left)
    tail = (1 - CONFIDENCE) / 2 / len(pairs)  # all pairs together
    own = evidence.by.own_difference
    barely = abs(own(BARELY))
    intervals = {}
    for a, b in pairs:
        low, high = sorted(map(own, _normal_interval(tuned[a], tuned[b], tail)))
        intervals[f"{a}-{b}"] = [round(low, 4), round(high, 4)]
    lows, highs = np.array(list(intervals.values())).T
    widest = max(intervals, key=lambda pair: max(map(abs, intervals[pair])))
    text = f"least sure of {len(pairs)} pairs: {widest}, {_signed(intervals[widest])}"
    figures = {"differences": intervals}
    apart = [pair for pair, (low, high) in intervals.items() if low > barely or high < -barely]
    if apart:
        text = f"{apart[0]} differ by {_signed(intervals[apart[0]])}"
        return Claim(name=name, verdict=DISAGREE, figures=figures, text=text)
    if lows.min() >= -barely and highs.max() <= barely:
        return Claim(name=name, verdict=AGREE, figures=figures, text=text)
    return not_shown(name, f"{text}: wider than {barely:g}", figures)


def _signed(interval: Sequence[float]) -> str:
    return f"{interval[0]:+.3f} to {interval[1]:+.3f}"


def _normal_interval(a: RateEstimate, b: RateEstimate, tail: float) -> tuple[float, float]:
    """The interval of `a`'s standard value less `b`'s: draws are too few for so thin tails."""
    from statistics import NormalDist

    middle = float(b.error_draws.mean() - a.error_draws.mean())
    radius = NormalDist().inv_cdf(1 - tail) * math.hypot(
        float(a.error_draws.std()), float(b.error_draws.std())
    )
    return middle - radius, middle + radius


def early_predicts(name: str, evidence: Runs) -> Claim:
    """Rank correlation of the metric early (after 2 epochs, or a tenth of what is none of epochs)
    and at the end, over all completed runs and within sizes. Agree: both intervals lie above 0.5.
    Disagree: one lies below.

    Beside them, among the best quarter of each size: to tell bad runs from good ones is easier.
    """
    pairs: dict[int, list[tuple[float, float]]] = {}
    soon = EARLY_EPOCHS
    if evidence.point != "epoch":
        name = "a tenth of a run predicts the end"
        soon = max(1, round(EARLY_SHARE * max(row.points or 0 for row in evidence.rows)))
    for row in evidence.finished:
        early = metric_at(row, soon)
        if early is not None and row.metric is not None and (row.points or 0) > 2 * soon:
            pairs.setdefault(row.batch_size, []).append((early, row.metric))
    n = sum(map(len, pairs.values()))
    if n < MIN_RUNS:
        return not_shown(
            name, f"{n} completed runs of over {2 * soon} {evidence.point}s with a curve, "
            f"wanted {MIN_RUNS}"
        )  # fmt: skip
    overall = rank_correlation(list(pairs.values()), CONFIDENCE, seed=evidence.seed)
    within = within_correlation(list(pairs.values()), CONFIDENCE, seed=evidence.seed)
    if within is None:
        return not_shown(name, "no size has enough runs")
    best = within_correlation(_best_quarters(pairs), CONFIDENCE, seed=evidence.seed)
    figures = {
        "overall": list(overall),
        "within_sizes": list(within),
        "among_best_quarter": None if best is None else list(best),
        "n_runs": n,
    }
    text = (
        f"rank correlation {overall[0]:.2f} ({overall[1]:.2f} to {overall[2]:.2f}), within sizes "
        f"{within[0]:.2f} ({within[1]:.2f} to {within[2]:.2f}), {n} runs"
    )
    if best is not None:
        text += f"; among the best quarter of each size {best[0]:.2f}"
    if min(overall[1], within[1]) > PREDICTS:
        return Claim(name=name, verdict=AGREE, figures=figures, text=text)
    if min(overall[2], within[2]) < PREDICTS:
        return Claim(name=name, verdict=DISAGREE, figures=figures, text=text)
    return not_shown(name, f"{text}: not clearly on one side of {PREDICTS}", figures)


def _best_quarters(
    pairs: Mapping[int, Sequence[tuple[float, float]]],
) -> list[list[tuple[float, float]]]:
    """The best quarter of each size's pairs, by the metric at the end (the second number)."""
    ordered = (sorted(some, key=lambda pair: -pair[1]) for some in pairs.values())
    return [some[: max(1, len(some) // 4)] for some in ordered]


LEARNING_CLAIMS: dict[str, Rule] = {
    "larger is faster to the target": larger_is_faster_to_target,
    "smaller ends better, in as many epochs": smaller_ends_higher,
    "smaller ends better, in as many steps": smaller_ends_higher_in_as_many_steps,
    "the generalization gap grows with batch size": gap_grows,
    "small batches spike more, per epoch": partial(
        small_batches_spike, per=lambda row: row.epochs or row.examples, unit="per epoch"
    ),
    "small batches spike more, per step": partial(
        small_batches_spike, per=lambda row: row.steps, unit="per step"
    ),
    "adjacent sizes barely differ": neighbours_barely_differ,
    "2 epochs predict the end": early_predicts,
}
OVER_ALL_RUNS = {"2 epochs predict the end", "a tenth of a run predicts the end"}
OVER_TUNED_RUNS = {
    "larger is faster to the target",
    "the generalization gap grows with batch size",
    "small batches spike more, per epoch",
    "small batches spike more, per step",
}
