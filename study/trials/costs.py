"""What each batch size costs on one hardware: probed once, stored with the study, reused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

WHILE_PROBED = ("steps_alone", "undefined")
OF_DEVICES = ("device_memory_bytes", "predicted_device_memory_bytes")
TIME_OFF = 0.10  # a run this much slower or faster than its probe says is flagged


@dataclass(frozen=True, kw_only=True)
class SizeCost:
    """One batch size. No step time: it cannot fit, ran out of memory, or its probe failed."""

    batch_size: int
    step_seconds: float | None
    peak_memory_bytes: int | None
    predicted_peak_memory_bytes: int | None
    total_steps: int | None  # of a whole run
    evaluation_peak_bytes: int | None = None  # of a validation; None: none was seen
    disturbed: bool = False  # the CPU was not ours alone at any repeat
    error: str | None = None  # what the objective raised; its trials measure themselves
    data_wait_share: float | None = None  # of a step, until its batch was there; None: in memory
    device_memory_bytes: int | None = None  # that an accelerator loses at the peak; None: a CPU
    predicted_device_memory_bytes: int | None = None
    # Only while it is probed, and not stored:
    steps_alone: bool = False  # what lies between epochs is to be added
    undefined: str = ""  # what there is to say of a reported metric that is not finite

    @property
    def cannot_fit(self) -> bool:
        """Whether there is not the memory to run it."""
        return self.step_seconds is None and self.error is None

    @property
    def train_seconds(self) -> float | None:
        """The seconds that a whole run takes, from the step time; None where that is unknown."""
        if self.step_seconds is None or self.total_steps is None:
            return None
        return self.step_seconds * self.total_steps

    @property
    def busy_step_seconds(self) -> float | None:
        """The seconds of a step without those that it waits for data."""
        if self.step_seconds is None:
            return None
        return self.step_seconds * (1 - (self.data_wait_share or 0.0))

    @property
    def examples_per_second(self) -> float | None:
        """Throughput of training steps."""
        return None if self.step_seconds is None else self.batch_size / self.step_seconds

    @property
    def memory(self) -> int | None:
        """Measured where it ran, else predicted."""
        return self.peak_memory_bytes or self.predicted_peak_memory_bytes

    @property
    def device_memory(self) -> int | None:
        """What a device loses: measured where it ran, else predicted; on a CPU the model's peak."""
        return self.device_memory_bytes or self.predicted_device_memory_bytes or self.memory


Costs = dict[int, SizeCost]  # by batch size


def beyond_peak(costs: Iterable[SizeCost]) -> int | None:
    """The most bytes by which what a device loses lies above a peak; None where nobody knows."""
    known = [
        cost.device_memory_bytes - cost.peak_memory_bytes
        for cost in costs
        if cost.device_memory_bytes is not None and cost.peak_memory_bytes is not None
    ]
    return max(known, default=None)


def to_stored(costs: Costs) -> list[dict[str, Any]]:
    """The costs as rows for a study attribute, by ascending batch size.

    What only accelerators have is left out elsewhere: older versions refuse what they do not know.
    """
    return [
        {
            name: value
            for name, value in asdict(costs[size]).items()
            if name not in WHILE_PROBED and (value is not None or name not in OF_DEVICES)
        }
        for size in sorted(costs)
    ]


def from_stored(stored: Iterable[Mapping[str, Any]]) -> Costs:
    """The costs that `to_stored` made rows of."""
    return {row["batch_size"]: SizeCost(**row) for row in stored}


@dataclass(frozen=True, kw_only=True)
class ProbeAdvice:
    """What a probe says about a choice of batch size."""

    best_throughput: int  # batch size
    smallest_near_best: int  # the smallest within 5% of it
    largest_that_fits: int


def advice(costs: Costs) -> ProbeAdvice | None:
    """The advice that the costs give; None where no size could be run."""
    ran = [c for c in costs.values() if c.examples_per_second is not None]
    if not ran:
        return None
    best = max(ran, key=lambda c: c.examples_per_second or 0.0)
    near = 0.95 * (best.examples_per_second or 0.0)
    return ProbeAdvice(
        best_throughput=best.batch_size,
        smallest_near_best=min(c.batch_size for c in ran if (c.examples_per_second or 0) >= near),
        largest_that_fits=max(c.batch_size for c in ran),
    )


def undefined_line(costs: Costs) -> str | None:
    """What the probes have just seen of a metric that is not finite; None where it was.

    The largest size goes on to a report, and knows its loss.
    """
    sizes = sorted(costs, reverse=True)
    return next((costs[size].undefined for size in sizes if costs[size].undefined), None)


def disturbed_line(costs: Costs) -> str | None:
    """Which sizes may take less time than is known; None where no probe was disturbed."""
    sizes = [str(size) for size, cost in sorted(costs.items()) if cost.disturbed]
    if not sizes:
        return None
    one = len(sizes) == 1
    return (
        f"other work ran on this CPU, or the task waited, while batch size{'' if one else 's'} "
        f"{', '.join(sizes)} {'was' if one else 'were'} probed: {'it' if one else 'they'} may take "
        "less time than is said"
    )
