"""How many trials share a GPU, where that is left to be found: by memory and by throughput."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import usable_memory_bytes
from batchfront.objectives.training.recipe import n_ranks
from batchfront.study.machine.alone import measuring_turn
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.probes.prober import SAFE_SHARE
from batchfront.study.show import counted, human_bytes
from batchfront.study.workers.company import gains
from batchfront.study.workers.launch import Job
from batchfront.study.workers.team import leave_device

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective
    from batchfront.study.plan.plan import Plan
    from batchfront.study.trials.costs import SizeCost

WORTH = 1.1  # times as much as with one trial less


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """The answer."""

    n: int
    why: str


def sharing_of(job: Job, objective: Objective, n_workers: int, interrupts: Interrupts) -> Sharing:
    """How many trials share a GPU of those that the workers of a job train on.

    It is measured where there are workers enough, and memory: for some ten seconds, on one GPU.
    """
    device = job.plan.device
    if device.startswith("cpu"):
        return Sharing(n=1, why="no GPU is shared: trials run on the CPU")
    most = math.ceil(n_workers / max(1, len(job.devices)))
    if most < 2 or n_ranks(objective) > 1:
        why = "each has one worker" if most < 2 else "ranks take several for each trial"
        return Sharing(n=1, why=f"trials do not share GPUs: {why}")
    leave_device(objective)
    with measuring_turn(objective, device, lambda: interrupts.signum is not None):
        return _measured(job, most, interrupts)


def _measured(job: Job, most: int, interrupts: Interrupts) -> Sharing:
    """The answer, by whoever has the device: what others held until now is free."""
    device, ran = job.plan.device, sizes_that_ran(job.plan)
    free = usable_memory_bytes(device)
    fit = most_that_fit(ran, free)
    if fit < 2:
        return Sharing(n=1, why=f"trials take turns on {device}: {_too_large(ran, free)}")
    # At both ends of the space: runs of small batches take longest, those of large ones fill a GPU.
    weights = {cost.batch_size: cost.train_seconds or 0.0 for cost in (ran[0], ran[-1])}
    found = gains(job, min(most, fit), weights, interrupts, worth=WORTH)
    return decided(found, device=device, most=most, fit=fit)


def sizes_that_ran(plan: Plan) -> list[SizeCost]:
    """What is known of the batch sizes that runs may come to, small ones first."""
    known = [plan.costs[size] for size in sorted(plan.costs)]
    reached = [
        c for c in known if plan.growth is not None or c.batch_size in plan.space.batch_sizes
    ]
    return [cost for cost in reached if cost.train_seconds is not None]


def most_that_fit(ran: list[SizeCost], free_bytes: float) -> int:
    """How many of the largest runs fit into what is free; 1 where nobody knows what they take."""
    needs = [_needs(cost) for cost in ran]
    known = [n_bytes for n_bytes in needs if n_bytes is not None]
    if not known or len(known) < len(needs):
        return 1
    return max(1, int(SAFE_SHARE * free_bytes / max(known)))


def _needs(cost: SizeCost) -> int | None:
    """Bytes that a device loses to a run, its validations included."""
    if cost.device_memory_bytes is None or cost.peak_memory_bytes is None:
        return None
    return cost.device_memory_bytes + max(
        0, (cost.evaluation_peak_bytes or 0) - cost.peak_memory_bytes
    )


def decided(found: dict[int, float], *, device: str, most: int, fit: int) -> Sharing:
    """The largest number that was worth more than one less, in words.

    `found`: times as much as one trial alone does, by number.
    """
    n = 1
    while n + 1 in found and found[n + 1] >= WORTH * found[n]:
        n += 1
    tried = max(found)
    if tried == 1:
        return Sharing(
            n=1, why=f"trials take turns on {device}: two beside each other could not be measured"
        )
    if n == 1:
        return Sharing(
            n=1,
            why=f"trials take turns on {device}: two beside each other do {found[2]:.2f} times as "
            "much as one, which is not worth it",
        )
    end = f"; {tried} do {found[tried]:.1f} times" if tried > n else ""
    if tried == n and n == fit < most:
        end = "; its memory holds no more"
    return Sharing(
        n=n,
        why=f"{n} trials share {device}: beside each other they do {found[n]:.1f} times as much as "
        f"one{end}",
    )


def _too_large(ran: list[SizeCost], free_bytes: float) -> str:
    needs = {cost.batch_size: _needs(cost) for cost in ran}
    if not needs or None in needs.values():
        return "nobody has measured what it loses to a run; probe --again does"
    size, most = max(needs.items(), key=lambda item: item[1] or 0)
    return (
        f"{counted(2, 'run')} of batch size {size} take {human_bytes(2 * (most or 0))}, and "
        f"{human_bytes(free_bytes)} are free"
    )
