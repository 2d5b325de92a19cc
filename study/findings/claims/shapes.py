"""Beliefs that a figure rises or falls with the batch size, by the shape that it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from batchfront.study.commands import setting
from batchfront.study.findings.claims.claim import AGREE, DISAGREE, Claim, Runs, not_shown
from batchfront.study.findings.statistics.shape import (
    LEVEL,
    MIN_SIZES,
    Shape,
    mean_ranks,
    shape_of,
)
from batchfront.study.trials.rows import RunRow

MIN_SEEDS = 3  # runs of a size


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
        return not_shown(name, f"give {setting('target')}")

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
    if len(known) < MIN_SIZES:
        return not_shown(
            name,
            f"{len(known)} batch sizes with {MIN_SEEDS} tuned runs that say their {what}, "
            f"wanted {MIN_SIZES}",
            left_out=left,
        )
    shape = shape_of(*mean_ranks(known), seed=evidence.seed)
    means = {size: sum(v) / len(v) for size, v in known.items()}
    (smallest, first), *_, (largest, last) = means.items()
    text = f"{what} {_mean_word(first)} at {smallest}, {_mean_word(last)} at {largest}"
    finite = {size: mean if math.isfinite(mean) else None for size, mean in means.items()}
    figures = {"means": finite, "rank_correlation": shape.correlation, "p": shape.p_trend}
    if shape.turn is not None:
        return turned(name, shape, f"{text}, {_mean_word(means[shape.turn])}", left, figures)
    text += f"; rank correlation {shape.correlation:+.2f}, p {shape.p_trend:.2g}"
    if not shape.trend:
        return not_shown(name, f"{text}: no clear trend", figures, left)
    verdict = AGREE if sign * shape.trend > 0 else DISAGREE
    return Claim(name=name, verdict=verdict, figures=figures, text=text, left_out=left)


def turned(
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
