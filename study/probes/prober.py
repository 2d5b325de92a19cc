"""Probes every batch size of an objective: step time and peak memory, before a search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import (
    free_memory,
    is_device_lost,
    is_out_of_memory,
    usable_memory_bytes,
)
from batchfront.objectives.length import Length
from batchfront.objectives.measurement import MetricError, ObjectiveError, TrialParams
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.parameter import usual_values
from batchfront.objectives.probes.between import between_epochs
from batchfront.objectives.probes.cost import Cost, probe
from batchfront.objectives.raised import Halted, words_of
from batchfront.objectives.training.predict import calibrated
from batchfront.objectives.training.recipe import n_ranks
from batchfront.study.trials.costs import TIME_OFF, Costs, SizeCost, beyond_peak

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective

PROBE_SECONDS = 0.15  # of timed training for each batch size and round
ROUNDS = 2  # far apart in time, so that one disturbance does not spoil both
BUSY_ENOUGH = 0.9  # CPU seconds per wall second of an undisturbed CPU run
PATIENCE_SECONDS = 1.0  # how long a disturbed probe waits before it repeats
REPEATS = 2
SHORT_EPOCH_SECONDS = 1.0  # of an epoch whose end is waited for, at the most
REMEDY = ": mend the task, and run the same command again"
SAFE_SHARE = 0.9  # of the memory that is left; predictions do not see workspaces


class DeviceGone(ObjectiveError):
    """A probe has lost its process the device; another process finds it as it was."""


class Watch:
    """Sees probes as they are made; says nothing of them itself."""

    lost_seconds = 0.0  # that processes have probed for which were lost

    def begins(self, size: int, done: int, total: int) -> SizeCost | None:
        """A batch size is about to be probed; its cost, where another process has found it.

        `done`: probes so far, of `total`: every size is probed several times.
        """
        return None

    def ended(self, cost: SizeCost) -> None:
        """It has been."""


class Prober:
    """Measures batch sizes for one objective on one device."""

    def __init__(self, objective: Objective, *, length: Length, device: str, rate: float) -> None:
        self._objective = objective
        self._length = length
        self._device = device
        self._rate = rate  # a small one: a probe must not diverge
        self._patience = REPEATS
        self._to_report = False  # the size being probed goes on to its first report

    def sizes(self, batch_sizes: Iterable[int], watch: Watch | None = None) -> Costs:
        """Probe every size, small ones first; sizes that cannot fit are predicted, never run.

        Raises:
            MetricError: what is reported is not what the study is about.
            DeviceGone: this process can probe no more.
        """
        watch = watch or Watch()
        sizes = sorted(batch_sizes)
        predicted = {size: self._objective.predict_peak_bytes(size) for size in sizes}
        costs: Costs = {}
        for round_ in range(ROUNDS):
            for index, size in enumerate(sizes):
                seen = costs.get(size)
                if seen is not None and seen.step_seconds is None:
                    continue
                known = watch.begins(size, round_ * len(sizes) + index, ROUNDS * len(sizes))
                self._to_report = seen is None and size == sizes[-1]  # the quickest to come to it
                if known is None:
                    new = self._one(size, predicted, costs)
                else:  # where its process was lost, that did not come to a prediction
                    expected = known.predicted_peak_memory_bytes or predicted[size]
                    new = replace(known, predicted_peak_memory_bytes=expected)
                watch.ended(new)
                costs[size] = new if seen is None else faster(seen, new)
        return self._with_ends(costs)

    def again(self, size: int, costs: Costs) -> SizeCost:
        """Probe one size again; what was known stays unless it was far too slow.

        Other work only makes steps slower, so a slower probe says nothing new.
        """
        before = costs[size]
        probed = self._measure(size, before.predicted_peak_memory_bytes)
        after = self._with_ends({**costs, size: probed})[size]
        if before.step_seconds is None or after.step_seconds is None:
            return before
        if after.step_seconds >= (1 - TIME_OFF) * before.step_seconds:
            return before
        # Memory does not depend on what else runs; an older version may have counted otherwise.
        return replace(
            after,
            peak_memory_bytes=before.peak_memory_bytes,
            device_memory_bytes=before.device_memory_bytes,
            predicted_device_memory_bytes=before.predicted_device_memory_bytes,
        )

    def _one(self, size: int, predicted: Mapping[int, int | None], costs: Costs) -> SizeCost:
        measured = {c.batch_size: c.peak_memory_bytes for c in costs.values()}
        known = {b: peak for b, peak in measured.items() if peak is not None}
        expected = calibrated(predicted, known)[size]
        limit = SAFE_SHARE * usable_memory_bytes(self._device)
        smaller_failed = any(c.cannot_fit for c in costs.values() if c.batch_size < size)
        device = _expected_of_device(size, expected, costs)
        if smaller_failed or (expected is not None and expected > limit):
            return unrun(size, expected, device=device)
        return replace(self._measure(size, predicted[size]), predicted_device_memory_bytes=device)

    def measure(self, size: int) -> SizeCost:
        """Probe one size once, for its memory: time may be disturbed, and others are not known."""
        self._patience = 0
        return self._measure(size, self._objective.predict_peak_bytes(size))

    def _measure(self, size: int, predicted: int | None) -> SizeCost:
        try:
            best = self._quiet_probe(size)
        except Halted:
            raise
        except BaseException as error:  # user code may raise anything
            if isinstance(error, MetricError) and self._to_report:
                raise  # trials would fail as well
            self._check_device(size, error)
            if not is_out_of_memory(error):
                return unrun(size, predicted, error=words_of(error)[:500])
            free_memory(error)
            return unrun(size, predicted)
        return SizeCost(
            batch_size=size,
            step_seconds=best.step_seconds,
            peak_memory_bytes=best.peak_memory_bytes,
            predicted_peak_memory_bytes=predicted,
            total_steps=best.total_steps,
            evaluation_peak_bytes=best.evaluation_peak_bytes,
            disturbed=self._disturbed(best),
            data_wait_share=best.data_wait_share,
            device_memory_bytes=best.device_memory_bytes,
            undefined=best.undefined,
            steps_alone=isinstance(self._objective, CustomLoop) and not best.whole_epochs,
        )

    def _check_device(self, size: int, error: BaseException) -> None:
        """Raise DeviceGone where an error at that size has lost this process the device."""
        if is_device_lost(error, self._device):
            raise DeviceGone(
                f"{self._device} answers no more since a probe of batch size {size} failed "
                f"({words_of(error)[:150]}){REMEDY}"
            ) from error

    def _with_ends(self, costs: Costs) -> Costs:
        """The costs, where steps alone are known with what the loop does between epochs."""
        ran = [size for size in sorted(costs) if costs[size].step_seconds is not None]
        between = cache(self._between_epochs)
        return {
            size: self._with_end(cost, ran, between) if cost.steps_alone else cost
            for size, cost in costs.items()
        }

    def _with_end(
        self, cost: SizeCost, ran: Sequence[int], between: Callable[[int], float]
    ) -> SizeCost:
        """The end is waited for at the smallest size that is no smaller and has short epochs."""
        steps, epochs = cost.train_seconds, self._length.points
        if steps is None or cost.total_steps is None:
            return cost
        larger = [size for size in ran if size >= cost.batch_size]
        at_size = (steps * cost.batch_size / size / epochs for size in larger)  # seconds an epoch
        soon = [n for n, epoch in zip(larger, at_size, strict=True) if epoch <= SHORT_EPOCH_SECONDS]
        whole = steps + epochs * between(soon[0] if soon else larger[-1])
        return replace(cost, step_seconds=whole / cost.total_steps, steps_alone=False)

    def _between_epochs(self, size: int) -> float:
        """Seconds between two epochs of a size that has run; 0 where it fails this time."""
        params = self._params(size)
        try:
            return between_epochs(self._objective, params, metric=self._objective.metric)
        except Halted:
            raise
        except BaseException as error:  # user code may raise anything
            self._check_device(size, error)
            free_memory(error)
            return 0.0

    def _quiet_probe(self, size: int) -> Cost:
        """Wait and repeat while other work shares the CPU; then the fastest has to do."""
        best = self._probe(size)
        for _ in range(self._patience):
            if not self._disturbed(best):
                return best
            time.sleep(PATIENCE_SECONDS)
            best = min(best, self._probe(size), key=lambda c: (self._disturbed(c), c.step_seconds))
        if self._disturbed(best):
            self._patience = 0  # a lasting load, or an objective that sleeps: waiting is no use
        return best

    def step_seconds(self, size: int, seconds: float) -> float:
        """What a step takes now, whoever else trains beside it; nothing of it is kept."""
        return self._probe(size, seconds=seconds, measure_memory=False).step_seconds

    def _probe(
        self, size: int, *, seconds: float = PROBE_SECONDS, measure_memory: bool = True
    ) -> Cost:
        return probe(
            self._objective,
            self._params(size),
            metric=self._objective.metric,
            seconds=seconds,
            measure_memory=measure_memory,
            compiled=self._objective.compiled,
            to_report=self._to_report,
        )

    def _params(self, size: int) -> TrialParams:
        return TrialParams.over(
            self._length,
            batch_size=size,
            learning_rate=self._rate,
            seed=0,
            device=self._device,
            extra=usual_values(self._objective.search),
        )

    def _disturbed(self, cost: Cost) -> bool:
        # Ranks wait for each other, so that none of them is busy all the time.
        alone = n_ranks(self._objective) == 1
        return alone and self._device.startswith("cpu") and cost.busy < BUSY_ENOUGH


def faster(a: SizeCost, b: SizeCost) -> SizeCost:
    """The quicker of two probes of one size; undisturbed ones first."""
    if a.step_seconds is None or b.step_seconds is None:
        return b if a.step_seconds is None else a
    best = min(a, b, key=lambda cost: (cost.disturbed, cost.step_seconds))
    if best.device_memory_bytes is not None:  # kernels of larger sizes may have come to it since
        most = max(best.device_memory_bytes, a.device_memory_bytes or 0, b.device_memory_bytes or 0)
        best = replace(best, device_memory_bytes=most)
    undefined = a.undefined or b.undefined  # one of them has come to a report
    if best.undefined != undefined:
        best = replace(best, undefined=undefined)
    if best.evaluation_peak_bytes is None:  # the other may have come to a validation
        seen = a.evaluation_peak_bytes or b.evaluation_peak_bytes
        return best if seen is None else replace(best, evaluation_peak_bytes=seen)
    return best


def _expected_of_device(size: int, peak: int | None, costs: Costs) -> int | None:
    """What an accelerator is expected to lose, from a peak and what smaller sizes took beyond it.

    Said once, before the size runs.
    """
    if size in costs:
        return costs[size].predicted_device_memory_bytes
    beyond = beyond_peak(costs.values())
    return None if peak is None or beyond is None else peak + beyond


def unrun(
    size: int, predicted: int | None, error: str | None = None, *, device: int | None = None
) -> SizeCost:
    """The cost of a size that could not be run; without an error there is no room for it."""
    return SizeCost(
        batch_size=size,
        step_seconds=None,
        peak_memory_bytes=None,
        predicted_peak_memory_bytes=predicted,
        total_steps=None,
        error=error,
        predicted_device_memory_bytes=device,
    )
