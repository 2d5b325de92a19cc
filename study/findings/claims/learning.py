"""Beliefs about accuracy, spikes and curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

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
from batchfront.study.findings.statistics.trends import (
    mean_interval,
    rank_correlation,
    rank_trend,
    within_correlation,
)
from batchfront.study.trials.rows import RunRow

FINEST = 0.002  # of an accuracy
BARELY = 0.01  # of accuracy: sizes that differ by less barely differ
EARLY_EPOCHS = 2
PREDICTS = 0.5  # rank correlation from which on the early regime predicts the end
MIN_RUNS = 20
MIN_TREND_SIZES, MIN_SEEDS = 3, 3  # runs of a size


def smaller_ends_higher(name: str, evidence: Runs) -> Claim:
    """Error at each size's best rate over log2 of the size: agree where the slope is positive."""
    import numpy as np

    tuned = evidence.tuned
    if len(tuned) < MIN_SIZES:
        return not_shown(name, f"{len(tuned)} tuned batch sizes, wanted {MIN_SIZES}")
    x = np.log2(np.array(list(tuned), dtype=float))
    draws = np.array([e.error_draws for e in tuned.values()])
    line = fit_line(x, draws, finest=FINEST, seed=evidence.seed)
    low, high = line.interval(CONFIDENCE)
    best = {size: round(1 - e.error, 4) for size, e in tuned.items()}
    text = f"accuracy {-line.slope:+.4f} per doubling ({-high:+.4f} to {-low:+.4f})"
    figures = {"tuned_metric": best, "per_doubling": [-line.slope, -high, -low]}
    return decided(name, low, high, text, figures)


def smaller_ends_higher_in_as_many_steps(name: str, evidence: Runs) -> Claim:
    """B after half the epochs against 2B after all: as many steps, each at its own best rate.

    Agree: the mean difference of neighbours is positive.
    """
    import numpy as np

    if not evidence.steady:
        return not_shown(
            name,
            "learning rate or batch size follow a schedule: half a run is none of half as long",
        )
    epochs = max((row.epochs or 0 for row in evidence.rows), default=0)
    draws, differences = [], {}
    for size in evidence.tuned:
        half = evidence.tuned_at(size, epochs // 2) if epochs % 2 == 0 else None
        whole = evidence.tuned.get(2 * size)
        if half is not None and whole is not None:
            draws.append(whole.error_draws - half.error_draws)
            differences[f"{size}-{2 * size}"] = round(whole.error - half.error, 4)
    if len(draws) < MIN_TREND_SIZES:
        return not_shown(
            name, f"{len(draws)} pairs of tuned sizes B and 2B with curves at half of "
            f"{epochs} epochs, wanted {MIN_TREND_SIZES}"
        )  # fmt: skip
    low, high = mean_interval(np.array(draws), CONFIDENCE)
    text = f"B against 2B: {np.mean(draws):+.4f} accuracy ({low:+.4f} to {high:+.4f})"
    return decided(name, low, high, text, {"differences": differences, "interval": [low, high]})


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
    target = evidence.target
    if target is None:
        return not_shown(name, "give --target")

    def seconds(row: RunRow) -> float | None:
        if row.epoch_seconds is None or not row.curve:
            return None
        epochs = row.epochs_to(target)
        return math.inf if epochs is None else epochs * row.epoch_seconds

    curves = [row for row in evidence.tuned_rows if row.curve]
    if curves and all(row.epochs_to(target) is None for row in curves):
        return not_shown(name, f"no tuned run reaches {target:g}")
    return _trend(name, evidence, seconds, sign=-1, what="seconds to the target")


def _trend(
    name: str,
    evidence: Runs,
    figure: Callable[[RunRow], float | None],
    *,
    sign: int,
    what: str,
) -> Claim:
    """Rank correlation with batch size, by permutation of runs."""
    values: dict[int, list[float]] = {}
    for row in evidence.tuned_rows:
        value = figure(row)
        if value is not None:
            values.setdefault(row.batch_size, []).append(value)
    known = {size: v for size, v in sorted(values.items()) if len(v) >= MIN_SEEDS}
    if len(known) < MIN_TREND_SIZES:
        return not_shown(
            name, f"{len(known)} batch sizes with {MIN_SEEDS} tuned runs that say their {what}, "
            f"wanted {MIN_TREND_SIZES}"
        )  # fmt: skip
    rho, p = rank_trend(known, seed=evidence.seed)
    means = {size: sum(v) / len(v) for size, v in known.items()}
    (smallest, first), *_, (largest, last) = means.items()
    text = (
        f"{what} {_mean_word(first)} at {smallest}, {_mean_word(last)} at {largest}; "
        f"rank correlation {rho:+.2f}, p {p:.2g}"
    )
    finite = {size: mean if math.isfinite(mean) else None for size, mean in means.items()}
    figures = {"means": finite, "rank_correlation": rho, "p": p}
    if p > 1 - CONFIDENCE:
        return not_shown(name, f"{text}: no clear trend", **figures)
    verdict = AGREE if sign * rho > 0 else DISAGREE
    return Claim(name=name, verdict=verdict, figures=figures, text=text)


def _mean_word(mean: float) -> str:
    return f"{mean:.3g}" if math.isfinite(mean) else "not by all"


def neighbours_barely_differ(name: str, evidence: Runs) -> Claim:
    """Accuracy of B and 2B, each at its best rate. Agree: all intervals lie within 0.01 of zero.
    Disagree: one lies beyond."""
    import numpy as np

    tuned = evidence.tuned
    pairs = [(size, 2 * size) for size in tuned if 2 * size in tuned]
    if len(pairs) < 2:
        return not_shown(name, f"{len(pairs)} pairs of tuned sizes B and 2B, wanted 2")
    tail = (1 - CONFIDENCE) / 2 / len(pairs)  # all pairs together
    intervals = {}
    for a, b in pairs:
        low, high = _normal_interval(tuned[a], tuned[b], tail)
        intervals[f"{a}-{b}"] = [round(low, 4), round(high, 4)]
    lows, highs = np.array(list(intervals.values())).T
    widest = max(intervals, key=lambda pair: max(map(abs, intervals[pair])))
    text = f"least sure of {len(pairs)} pairs: {widest}, {_signed(intervals[widest])}"
    figures = {"differences": intervals}
    apart = [pair for pair, (low, high) in intervals.items() if low > BARELY or high < -BARELY]
    if apart:
        text = f"{apart[0]} differ by {_signed(intervals[apart[0]])}"
        return Claim(name=name, verdict=DISAGREE, figures=figures, text=text)
    if lows.min() >= -BARELY and highs.max() <= BARELY:
        return Claim(name=name, verdict=AGREE, figures=figures, text=text)
    return not_shown(name, f"{text}: wider than {BARELY:g}", **figures)


def _signed(interval: Sequence[float]) -> str:
    return f"{interval[0]:+.3f} to {interval[1]:+.3f}"


def _normal_interval(a: RateEstimate, b: RateEstimate, tail: float) -> tuple[float, float]:
    """The interval of `a`'s accuracy less `b`'s: draws are too few for so thin tails."""
    from statistics import NormalDist

    middle = float(b.error_draws.mean() - a.error_draws.mean())
    radius = NormalDist().inv_cdf(1 - tail) * math.hypot(
        float(a.error_draws.std()), float(b.error_draws.std())
    )
    return middle - radius, middle + radius


def early_predicts(name: str, evidence: Runs) -> Claim:
    """Rank correlation of the metric after 2 epochs and at the end, over all completed runs and
    within sizes. Agree: both intervals lie above 0.5. Disagree: one lies below.

    Beside them, among the best quarter of each size: to tell bad runs from good ones is easier.
    """
    pairs: dict[int, list[tuple[float, float]]] = {}
    for row in evidence.finished:
        early = metric_at(row, EARLY_EPOCHS)
        if early is not None and row.metric is not None and (row.epochs or 0) > 2 * EARLY_EPOCHS:
            pairs.setdefault(row.batch_size, []).append((early, row.metric))
    n = sum(map(len, pairs.values()))
    if n < MIN_RUNS:
        return not_shown(
            name, f"{n} completed runs of over {2 * EARLY_EPOCHS} epochs with a curve, "
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
    return not_shown(name, f"{text}: not clearly on one side of {PREDICTS}", **figures)


def _best_quarters(
    pairs: Mapping[int, Sequence[tuple[float, float]]],
) -> list[list[tuple[float, float]]]:
    """The best quarter of each size's pairs, by the metric at the end (the second number)."""
    ordered = (sorted(some, key=lambda pair: -pair[1]) for some in pairs.values())
    return [some[: max(1, len(some) // 4)] for some in ordered]


LEARNING_CLAIMS: dict[str, Rule] = {
    "larger is faster to the target": larger_is_faster_to_target,
    "smaller ends higher, in as many epochs": smaller_ends_higher,
    "smaller ends higher, in as many steps": smaller_ends_higher_in_as_many_steps,
    "the generalization gap grows with batch size": gap_grows,
    "small batches spike more, per epoch": partial(
        small_batches_spike, per=lambda row: row.epochs, unit="per epoch"
    ),
    "small batches spike more, per step": partial(
        small_batches_spike, per=lambda row: row.steps, unit="per step"
    ),
    "adjacent sizes barely differ": neighbours_barely_differ,
    "2 epochs predict the end": early_predicts,
}
