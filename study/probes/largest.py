"""The largest batch size that fits into memory, to within 5%.

Peak memory is close to affine in the batch size. So few real runs do: the candidate is what the
prediction of a step says, or else a line through the runs so far, and a run confirms it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from batchfront.objectives.number import SIZE
from batchfront.objectives.training.predict import calibrated
from batchfront.study.errors import StudyError
from batchfront.study.show import counted, human_bytes
from batchfront.study.trials.costs import SizeCost

WITHIN = 1.05  # of the largest size: closer is not asked
LEAP = 8  # times the largest run, where nothing predicts what a step takes
MOST_RUNS = 24
GROWS = 1.02  # a peak that grows less over a LEAP has no end to be found
DATA, MEMORY, LOOP = "data", "memory", "loop"

Predict = Callable[[int], int | None]  # peak bytes of a batch size
Measure = Callable[[int], SizeCost]


@dataclass(frozen=True, kw_only=True)
class Largest:
    """The answer, and what it rests on."""

    batch_size: int
    peak_memory_bytes: int  # as measured
    device_memory_bytes: int | None  # likewise, that an accelerator loses; None: not asked about
    budget_bytes: int
    budget: str  # in words
    limited_by: str  # DATA: all examples fit; MEMORY; or LOOP: its memory no longer grows
    predicted: bool  # else from runs alone
    n_runs: int
    too_large: int | None  # a size that is known, or expected, not to fit
    too_large_bytes: int | None  # that it is expected to take, or took

    def lines(self) -> list[str]:
        """The answer in words."""
        how = "predicted, and confirmed by" if self.predicted else "found by"
        peak = f"peak {human_bytes(self.peak_memory_bytes)}"
        if self.device_memory_bytes is not None:
            peak += f", and the device loses {human_bytes(self.device_memory_bytes)}"
        used = f"{peak} of {human_bytes(self.budget_bytes)}"
        rests = f"{how} {counted(self.n_runs, 'run')}"
        if self.limited_by == DATA:
            return [
                f"all {self.batch_size:,} training examples fit into one batch: {used}, "
                f"{self.budget}; {rests}"
            ]
        if self.limited_by == LOOP:
            return [
                f"batch size {self.batch_size:,} fits: {used}, {self.budget}; {rests}; larger ones "
                "take no more memory: has the loop fewer examples than that?"
            ]
        end = f"; {self.too_large:,} does not fit" if self.too_large else ""
        if self.too_large_bytes is not None:
            end = f"; {self.too_large:,} takes {human_bytes(self.too_large_bytes)}"
        return [
            f"the largest batch size that fits is {self.batch_size:,}, to within 5%: {used}, "
            f"{self.budget}; {rests}{end}"
        ]


@dataclass(kw_only=True)
class Bracket:
    """Sizes that were run: those that fit, and the smallest that does not."""

    budget_bytes: int
    predict: Predict
    least: int = 1  # size that can be run
    of_device: bool = False  # the budget is one on what an accelerator loses
    peaks: dict[int, int] = field(default_factory=dict)  # of runs, by size
    beyond: dict[int, int] = field(default_factory=dict)  # what the device lost besides, likewise
    fits: int = 0
    too_large: int | None = None
    n_runs: int = 0

    def run(self, size: int, measure: Measure) -> None:
        """Run a size, and note whether it fits.

        Raises:
            StudyError: it fails for another reason than memory, or nothing measures that.
        """
        cost = measure(size)
        self.n_runs += 1
        if cost.error is not None:
            raise StudyError(f"batch size {size:,} cannot be run: {cost.error}")
        if cost.peak_memory_bytes == 0:
            raise StudyError(
                "nothing measures the memory of this task, which trains without torch: the largest "
                "batch size that fits cannot be found"
            )
        if cost.peak_memory_bytes is not None:
            self.peaks[size] = cost.peak_memory_bytes
            if self.of_device and cost.device_memory_bytes is not None:
                self.beyond[size] = cost.device_memory_bytes - cost.peak_memory_bytes
        if cost.peak_memory_bytes is None or self.all_of(size) > self.budget_bytes:
            self.too_large = min(size, self.too_large or size)
        else:
            self.fits = max(size, self.fits)

    def expected(self, size: int) -> int | None:
        """The peak of a size: measured, predicted, or on the line through the largest two runs."""
        if size in self.peaks:
            return self.peaks[size]
        predicted = {one: self.predict(one) for one in (*self.peaks, size)}
        if predicted[size] is not None:
            return calibrated(predicted, self.peaks)[size]
        if len(self.peaks) < 2:
            return None
        a, b = sorted(self.peaks)[-2:]
        slope = (self.peaks[b] - self.peaks[a]) / (b - a)
        return round(self.peaks[b] + slope * (size - b))

    def all_of(self, size: int) -> int:
        """What a run took that the budget is held against."""
        return self.peaks[size] + self.beyond.get(size, 0)

    def candidate(self, most: int) -> int:
        """The largest size up to `most` that is expected to fit, to within 1%.

        Where nothing is expected of what has run out of memory: the middle.
        """
        low = max(self.fits, self.least)
        if self.too_large is not None and self._may_fit(self.too_large):
            return max(1, round(math.sqrt(low * self.too_large)))
        high = most if self.too_large is None else self.too_large - 1
        if self._may_fit(high):
            return high
        while high > low + max(1, low // 100):
            middle = (low + high) // 2
            low, high = (middle, high) if self._may_fit(middle) else (low, middle)
        return low

    def _may_fit(self, size: int) -> bool:
        expected = self.expected(size)
        beyond = max(self.beyond.values(), default=0)
        return expected is None or expected + beyond <= self.budget_bytes


def find_largest(
    *,
    predict: Predict,
    measure: Measure,
    least: int,
    most: int | None,
    budget_bytes: int,
    budget: str,
    of_device: bool = False,
) -> Largest:
    """The largest size from `least` to `most` whose peak stays within the budget.

    `most`: all that there are; None where nobody knows, as of own loops. `of_device`: the budget is
    one on what an accelerator loses, which is more than the peak.

    Raises:
        StudyError: not even the smallest fits, or a run fails for another reason.
    """
    seen = Bracket(budget_bytes=budget_bytes, predict=predict, least=least, of_device=of_device)
    predicted = predict(least) is not None
    end = most or int(SIZE.high)
    _check_least(seen, least, measure)
    limited_by = MEMORY
    while seen.n_runs < MOST_RUNS:
        if seen.fits == end:
            limited_by = DATA
            break
        if seen.too_large is not None and seen.too_large <= _near_enough(seen):
            break
        reach = end if predicted else min(end, LEAP * seen.fits)
        size = seen.candidate(reach)
        if size <= max(seen.fits, seen.fits * (1 + (WITHIN - 1) / 2)) and size < reach:
            break
        before = seen.fits
        seen.run(size, measure)
        if not predicted and size >= LEAP * before and _stands_still(seen, before, size):
            limited_by = LOOP
            break
    return _answer(seen, limited_by, budget=budget, predicted=predicted)


def _near_enough(seen: Bracket) -> float:
    return max(WITHIN * seen.fits, seen.fits + 1, seen.least)


def _check_least(seen: Bracket, least: int, measure: Measure) -> None:
    """Begin with the smallest size where nothing predicts larger ones, or it may not fit itself."""
    expected = seen.predict(least)
    if expected is not None and expected <= seen.budget_bytes:
        return
    if expected is None:
        seen.run(least, measure)
    if not seen.fits:
        took = seen.peaks.get(least)
        needs = "" if took is None else f": it takes {human_bytes(took)}"
        if expected is not None:
            needs = f": it is predicted to take {human_bytes(expected)}"
        raise StudyError(
            f"not even batch size {least} fits into {human_bytes(seen.budget_bytes)}{needs}: give "
            "more --max-memory, or choose a smaller model"
        )


def _stands_still(seen: Bracket, before: int, size: int) -> bool:
    return seen.fits == size and seen.peaks[size] < GROWS * seen.peaks[before]


def _answer(seen: Bracket, limited_by: str, *, budget: str, predicted: bool) -> Largest:
    if not seen.fits:
        raise StudyError(
            f"no run of {counted(seen.n_runs, 'size')} fitted into "
            f"{human_bytes(seen.budget_bytes)}: give more --max-memory"
        )
    larger = seen.too_large
    if larger is None and limited_by == MEMORY:
        larger = max(int(WITHIN * seen.fits), seen.fits + 1)
    return Largest(
        batch_size=seen.fits,
        peak_memory_bytes=seen.peaks[seen.fits],
        device_memory_bytes=seen.all_of(seen.fits) if seen.beyond else None,
        budget_bytes=seen.budget_bytes,
        budget=budget,
        limited_by=limited_by,
        predicted=predicted,
        n_runs=seen.n_runs,
        too_large=larger,
        too_large_bytes=None if larger is None else seen.expected(larger),
    )
