"""Beliefs about time and memory: known figures, compared beyond what counts as a tie."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import median

from batchfront.study.findings.claims.claim import AGREE, DISAGREE, Claim, Rule, Runs, not_shown
from batchfront.study.show import human_bytes, human_seconds
from batchfront.study.trials.rows import RunRow

TIME_TIE, MEMORY_TIE = 0.05, 0.02  # as on the front
MIN_BETWEEN = 2  # sizes that are no powers of two


def _by_size(
    evidence: Runs, figure: Callable[[RunRow], float | None]
) -> tuple[dict[int, float], str]:
    """Medians, ascending by size, on the hardware that has most sizes; and its name."""
    values: dict[str, dict[int, list[float]]] = {}
    for row in evidence.rows:
        value = figure(row)
        if value is not None and row.finished:
            here = values.setdefault(row.hardware or "", {})
            here.setdefault(row.batch_size, []).append(value)
    if not values:
        return {}, ""
    hardware = max(values, key=lambda name: len(values[name]))
    return {size: median(found) for size, found in sorted(values[hardware].items())}, hardware


def faster_per_epoch(name: str, evidence: Runs) -> Claim:
    """Agree: no larger size takes over 5% longer than the one below it, and the largest is over 5%
    faster than the smallest. Disagree: some size does, and how large it is."""
    seconds, hardware = _by_size(evidence, lambda row: row.epoch_seconds)
    if len(seconds) < 2:
        return not_shown(name, f"{len(seconds)} batch sizes with a known epoch time, wanted 2")
    (smallest, first), *_, (largest, last) = seconds.items()
    figures = {"epoch_seconds": seconds, "hardware": hardware}
    text = (
        f"{human_seconds(first)} an epoch at {smallest}, {human_seconds(last)} at {largest} "
        f"({first / last:.3g} times)"
    )
    slower = [b for a, b in pairwise(seconds) if seconds[b] > (1 + TIME_TIE) * seconds[a]]
    if slower:
        text += f"; slower than the size below: {', '.join(map(str, slower))}"
        return Claim(name=name, verdict=DISAGREE, figures=figures, text=text)
    if first <= (1 + TIME_TIE) * last:
        return Claim(name=name, verdict=DISAGREE, figures=figures, text=f"{text}: a tie")
    return Claim(name=name, verdict=AGREE, figures=figures, text=text)


def memory_grows(name: str, evidence: Runs) -> Claim:
    """Agree: no larger size takes over 2% less than the one below it, and the largest over 2% more
    than the smallest. Disagree: else."""
    peaks, hardware = _by_size(evidence, lambda row: row.peak_memory_bytes)
    if len(peaks) < 2:
        return not_shown(name, f"{len(peaks)} batch sizes with a known peak, wanted 2")
    if not any(peaks.values()):
        return not_shown(name, "nothing measured memory")
    (smallest, first), *_, (largest, last) = peaks.items()
    figures = {"peak_memory_bytes": peaks, "hardware": hardware}
    text = f"{human_bytes(first)} at {smallest}, {human_bytes(last)} at {largest}"
    less = [b for a, b in pairwise(peaks) if peaks[b] < (1 - MEMORY_TIE) * peaks[a]]
    if less:
        text += f"; less than the size below: {', '.join(map(str, less))}"
    grows = not less and last > (1 + MEMORY_TIE) * first
    return Claim(name=name, verdict=AGREE if grows else DISAGREE, figures=figures, text=text)


def powers_of_two(name: str, evidence: Runs) -> Claim:
    """A size between two powers of two, against what they let expect by interpolation of logs.

    Agree: most such sizes take over 5% longer an epoch. Disagree: most do not.
    """
    seconds, _ = _by_size(evidence, lambda row: row.epoch_seconds)
    powers = [size for size in seconds if size & (size - 1) == 0]
    ratios = {}
    for low, high in pairwise(powers):
        for size in (s for s in seconds if low < s < high):
            share = math.log(size / low) / math.log(high / low)
            expected = seconds[low] ** (1 - share) * seconds[high] ** share
            ratios[size] = seconds[size] / expected
    if not ratios:
        return not_shown(name, "no other sizes were run between two powers of two")
    if len(ratios) < MIN_BETWEEN:
        return not_shown(name, f"{len(ratios)} size between powers of two, wanted {MIN_BETWEEN}")
    slower = [size for size, ratio in ratios.items() if ratio > 1 + TIME_TIE]
    text = f"{len(slower)} of {len(ratios)} other sizes are over {TIME_TIE:.0%} slower"
    verdict = AGREE if 2 * len(slower) > len(ratios) else DISAGREE
    return Claim(name=name, verdict=verdict, figures={"seconds_ratio": ratios}, text=text)


COST_CLAIMS: dict[str, Rule] = {
    "larger is faster per epoch": faster_per_epoch,
    "memory grows with batch size": memory_grows,
    "powers of two are faster than neighbours": powers_of_two,
}
