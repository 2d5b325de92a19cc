"""The Pareto front: completed, feasible trials that no other one beats in every objective."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from study.trials import is_feasible

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Values = Sequence[float]  # metric (maximized), train_seconds, peak_memory_bytes (minimized)


TIME_RESOLUTION = 0.05  # relative; times closer than this are ties
MEMORY_RESOLUTION = 0.02


def pareto_front(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Non-dominated feasible trials, from the least memory to the most."""
    feasible = [trial for trial in trials if is_feasible(trial)]
    kept = non_dominated([trial.values for trial in feasible])
    front = [trial for trial, keep in zip(feasible, kept, strict=True) if keep]
    return sorted(front, key=lambda trial: (trial.values[2], trial.values[1]))


def non_dominated(values: Sequence[Values]) -> list[bool]:
    """For each point, whether it stays on the front.

    Points are taken by falling metric; one is dropped when a point that stays has at least its
    metric at a time and a memory no larger within the resolution, unless the two are ties in all
    three. Comparing with points that stay only keeps chains of near-ties from emptying the front.
    """
    import numpy as np

    keep = [False] * len(values)
    front = np.empty((0, 3))
    for index in sorted(range(len(values)), key=lambda i: (-values[i][0], *values[i][1:])):
        point = np.asarray(values[index], dtype=float)
        if not _beaten(point, front):
            keep[index] = True
            front = np.vstack([front, point])
    return keep


def _beaten(point: Any, front: Any) -> bool:
    """`front`: (N, 3), every metric at least that of `point`."""
    time, memory = 1 + TIME_RESOLUTION, 1 + MEMORY_RESOLUTION
    cheap = (front[:, 1] <= point[1] * time) & (front[:, 2] <= point[2] * memory)
    better = (
        (front[:, 0] > point[0])
        | (front[:, 1] * time < point[1])
        | (front[:, 2] * memory < point[2])
    )
    return bool((cheap & better).any())
