"""What the device loses to a run, wherever its data lies and whatever is searched beside sizes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from statistics import median
from typing import Any

from benchmarks.gpu_check.bench import Bench, mib
from benchmarks.gpu_check.rows import Row, judged

NEAR = 0.05  # relative, of what the device says itself
SAME = 0.02
MEDIAN_ERROR, WORST_ERROR = 0.05, 0.15


def check(bench: Bench) -> Iterator[Row]:
    """The figure, its prediction, peaks of data that lies elsewhere, and searched widths."""
    sizes = [2**k for k in range(4, 11)] if bench.is_cuda else [4, 16]
    objective = bench.objective("mlp")
    prober = bench.prober(objective)
    yield _predicted(bench, prober.sizes(sizes))
    yield _lost(bench, prober.measure(sizes[-1]).device_memory_bytes)
    yield _fed_from_the_host(bench, objective, sizes[-1])
    yield _combinations(bench, sizes[:: len(sizes) - 1])


def _predicted(bench: Bench, costs: Any) -> Row:
    known = [
        abs(cost.predicted_device_memory_bytes / cost.device_memory_bytes - 1)
        for cost in costs.values()
        if cost.device_memory_bytes and cost.predicted_device_memory_bytes
    ]
    if not bench.is_cuda:
        return judged(not known, "device_memory_bytes is none on a CPU", "none")
    return judged(
        bool(known) and max(known) <= WORST_ERROR,
        "predicted device_memory_bytes: worst error",
        f"{max(known, default=1.0):.1%}",
    )


def _lost(bench: Bench, told: int | None) -> Row:
    """Right after a probe, whose blocks the allocator still holds."""
    what = "told device_memory_bytes, and what nvidia-smi says of the process (MiB)"
    if not bench.is_cuda:
        return judged(told is None, what, "none")
    used = _used_bytes(bench)
    return judged(
        told is not None and abs(told / used - 1) <= NEAR, what, f"{mib(told)}, {mib(used)}"
    )


def _used_bytes(bench: Bench) -> int:
    """Bytes that nvidia-smi counts for this process; else all that the driver says are in use."""
    import torch

    with suppress(OSError, subprocess.SubprocessError, ValueError, LookupError):
        return bench.on_device()[os.getpid()]  # numbers differ in containers
    free, total = torch.cuda.mem_get_info(bench.device)
    return total - free


def _fed_from_the_host(bench: Bench, objective: Any, size: int) -> Row:
    """The same task as on a card that has no room for its data."""
    from batchfront.objectives.training import feed

    here, share = bench.prober(objective).measure(size).peak_memory_bytes, feed.RESIDENT_SHARE
    feed.RESIDENT_SHARE = 0.0
    try:
        there = bench.prober(bench.objective("mlp")).measure(size).peak_memory_bytes
    finally:
        feed.RESIDENT_SHARE = share
    good = bool(here and there) and abs(there / here - 1) <= SAME
    return judged(
        good, "peak with data on the device, and from host memory", f"{mib(here)}, {mib(there)}"
    )


def _combinations(bench: Bench, sizes: list[int]) -> Row:
    """Predicted at widths that no probe has seen, against runs."""
    from batchfront.study.opening.planned import new_plan
    from batchfront.study.plan.settings import StudySettings
    from batchfront.study.probes.combinations import Foresight

    objective = bench.objective("wide")
    costs = bench.prober(objective).sizes(sizes)
    plan = new_plan(StudySettings(batch_sizes=tuple(sizes)), objective, "wide", bench.device)
    foresight, errors = Foresight(objective, plan), []
    for size in sizes:
        for width in (32, 2048) if bench.is_cuda else (8, 64):
            params = bench.params(size, epochs=2, extra={"width": width})
            predicted = foresight.peak_bytes(params, costs)
            measured = bench.measured(objective, params, memory=True).peak_memory_bytes
            errors.append(abs((predicted or 0) / measured - 1))
    return judged(
        median(errors) <= MEDIAN_ERROR and max(errors) <= WORST_ERROR,
        "prediction at searched widths that were not probed: median error (worst)",
        f"{median(errors):.1%} ({max(errors):.0%})",
    )
