"""What probes might have found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from batchfront.study.trials.costs import Costs, SizeCost


def known_cost(
    size: int, step_seconds: float | None = 0.001, memory: int = 1000, **more: Any
) -> SizeCost:
    """Memory grows and time falls with the size; without a step time it cannot fit."""
    return SizeCost(
        batch_size=size,
        step_seconds=step_seconds,
        peak_memory_bytes=None if step_seconds is None else memory * size,
        predicted_peak_memory_bytes=memory * size,
        total_steps=None if step_seconds is None else 1024 // size,
        **more,
    )


def known_costs(*sizes: int) -> Costs:
    return {size: known_cost(size) for size in sizes}


def costs_by(of: Callable[[int], tuple[float, float]], sizes: Iterable[int]) -> Costs:
    """What probes said: `of` gives seconds of a run and bytes."""
    return {
        size: SizeCost(
            batch_size=size,
            step_seconds=of(size)[0],
            peak_memory_bytes=int(of(size)[1]),
            predicted_peak_memory_bytes=None,
            total_steps=1,
        )
        for size in sizes
    }
