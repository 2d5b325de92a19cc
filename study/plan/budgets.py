"""What a trial may cost and must reach; constraints, not objectives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchfront.study.errors import StudyError
from batchfront.study.plan.space import SearchSpace
from batchfront.study.show import human_bytes, human_seconds
from batchfront.study.trials.costs import Costs, SizeCost, beyond_peak

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """The limits that a person named on memory, time and metric; None: unlimited."""

    max_memory_bytes: int | None = None
    max_seconds: float | None = None
    max_trial_seconds: float | None = None  # after which a run is ended
    min_metric: float | None = None
    max_metric: float | None = None
    of_device: bool = True
    """Whether memory is what an accelerator loses, with data and context; else the model's peak, as
    on a CPU and in studies up to format 4."""

    @property
    def least_metric(self) -> float | None:
        """What a run has to end at, or better."""
        return self.max_metric if self.min_metric is None else self.min_metric

    @property
    def metric_limits(self) -> dict[str, float | None]:
        """The limits on the metric, by name."""
        return {"min_metric": self.min_metric, "max_metric": self.max_metric}

    def __str__(self) -> str:
        words = []
        if self.max_memory_bytes is not None:
            words.append(f"memory at most {human_bytes(self.max_memory_bytes)}")
        if self.max_seconds is not None:
            words.append(f"time at most {human_seconds(self.max_seconds)}")
        if self.max_trial_seconds is not None:
            words.append(f"runs end after {human_seconds(self.max_trial_seconds)}")
        if self.min_metric is not None:
            words.append(f"metric at least {self.min_metric:g}")
        if self.max_metric is not None:
            words.append(f"metric at most {self.max_metric:g}")
        return ", ".join(words)

    def as_dict(self) -> dict[str, float]:
        """The budgets that are set, by name."""
        limits = {key: value for key, value in vars(self).items() if key != "of_device"}
        return {key: value for key, value in limits.items() if value is not None}

    def beforehand(self, *, stops_early: bool) -> Budgets:
        """The budgets that a size is known to keep or to break before it runs.

        What runs take that end early shows when they have ended.
        """
        if not stops_early:
            return self
        return replace(self, max_seconds=None, max_trial_seconds=None)

    @property
    def most_seconds(self) -> float | None:
        """The most seconds that a whole run may take."""
        limits = [self.max_seconds, self.max_trial_seconds]
        return min((limit for limit in limits if limit is not None), default=None)

    def memory_of(self, cost: SizeCost) -> int | None:
        """The memory of a batch size that its limit is held against."""
        return cost.device_memory if self.of_device else cost.memory

    def held(
        self, values: tuple[float, float, float], device_memory_bytes: int | None
    ) -> tuple[float, float, float]:
        """The values of a run, with the memory that its limit is held against."""
        if device_memory_bytes is None or not self.of_device:
            return values
        return (*values[:2], float(device_memory_bytes))

    def beyond_peak(self, costs: Costs, size: int) -> int:
        """The bytes by which that memory lies above a peak at a batch size.

        As its probe found; else the most of smaller sizes, for gaps and workspaces grow with it.
        """
        if not self.of_device:
            return 0
        own = beyond_peak([costs[size]]) if size in costs else None
        if own is None:
            own = beyond_peak(cost for cost in costs.values() if cost.batch_size < size)
        return own or 0

    def overshoot(self, values: Sequence[float | None]) -> float:
        """The share by which the worst budget is violated; 0 when none is.

        `values` are metric, train_seconds and the memory that `held` gives, None where unknown.
        """
        metric, seconds, memory = values
        over = [0.0]
        if self.max_memory_bytes is not None and memory is not None:
            over.append(memory / self.max_memory_bytes - 1)
        if self.most_seconds is not None and seconds is not None:
            over.append(seconds / self.most_seconds - 1)
        if self.min_metric is not None and metric is not None:
            over.append((self.min_metric - metric) / max(abs(self.min_metric), 1e-9))
        if self.max_metric is not None and metric is not None:
            over.append((metric - self.max_metric) / max(abs(self.max_metric), 1e-9))
        return max(over)

    def overshoot_of(self, cost: SizeCost, costs: Costs) -> float:
        """The overshoot by what is known of a batch size before it runs: its time and memory.

        Where its probe failed, it takes at least the memory of every smaller size, and as long as
        every larger one.
        """
        memory = self.memory_of(cost)
        if cost.step_seconds is None:
            smaller = [self.memory_of(c) for c in costs.values() if c.batch_size <= cost.batch_size]
            memory = max((m for m in smaller if m is not None), default=None)
        seconds = cost.train_seconds
        if seconds is None:
            larger = [c.train_seconds for c in costs.values() if c.batch_size > cost.batch_size]
            seconds = max((s for s in larger if s is not None), default=None)
        return self.overshoot((None, seconds, memory))


def parse_bytes(text: str) -> int:
    """`2GiB`, `500MB`, `1048576`.

    Raises:
        StudyError: no number of bytes.
    """
    found = re.fullmatch(r"([\d.]+)\s*([KMG]i?B)?", text.strip(), re.IGNORECASE)
    try:
        size = float(found.group(1)) * UNITS[(found.group(2) or "").upper()] if found else 0.0
    except ValueError:
        size = 0.0
    if not 1 <= size < 2**63:
        raise StudyError(f"max_memory is {text!r}, wanted a size like 512MiB, 2GiB or 4GB")
    return int(size)


def cut_by_cost(space: SearchSpace, costs: Costs, budgets: Budgets) -> SearchSpace:
    """The space without the ends that cannot fit or cost more than the budgets allow.

    `costs`: of whole runs, by the size they start with.

    Raises:
        StudyError: nothing is left.
    """
    kept = [
        cost.batch_size
        for cost in costs.values()
        if cost.batch_size in space.batch_sizes
        and not cost.cannot_fit
        and budgets.overshoot_of(cost, costs) <= 0
    ]
    if not kept:
        raise StudyError(f"no batch size fits: {_cheapest(costs, budgets)}")
    sizes = tuple(size for size in space.batch_sizes if min(kept) <= size <= max(kept))
    return replace(space, batch_sizes=sizes)


def _cheapest(costs: Costs, budgets: Budgets) -> str:
    found = [budgets.memory_of(cost) for cost in costs.values()]
    memory = min((n_bytes for n_bytes in found if n_bytes is not None), default=None)
    times = [c.train_seconds for c in costs.values() if c.train_seconds is not None]
    said = []
    if budgets.max_memory_bytes is not None and memory is not None:
        allowed = human_bytes(budgets.max_memory_bytes)
        said.append(f"the least memory is {human_bytes(memory)}, max_memory allows {allowed}")
    if budgets.most_seconds is not None and times:
        name = "max_seconds" if budgets.most_seconds == budgets.max_seconds else "max_trial_seconds"
        allowed = human_seconds(budgets.most_seconds)
        said.append(f"the shortest run takes {human_seconds(min(times))}, {name} is {allowed}")
    return "; ".join(said) or "the device has not the memory for any of them"
