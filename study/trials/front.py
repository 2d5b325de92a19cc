"""The Pareto front: completed, feasible trials that no other one beats in every objective."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.study.trials.attributes import OBJECTIVES, is_feasible
from batchfront.study.trials.yardstick import is_minimized

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Values = Sequence[float]  # of a study's objectives, in its order

RESOLUTIONS = {"train_seconds": 0.05, "peak_memory_bytes": 0.02}  # relative; closer ones are ties


def pareto_front(
    trials: Iterable[FrozenTrial], names: Sequence[str] = OBJECTIVES
) -> list[FrozenTrial]:
    """Non-dominated feasible trials, from the least memory to the most."""
    feasible = [trial for trial in trials if is_feasible(trial)]
    kept = non_dominated([trial.values for trial in feasible], names)
    front = [trial for trial, keep in zip(feasible, kept, strict=True) if keep]
    return sorted(front, key=lambda trial: trial.values[:0:-1])  # memory is last, then time


def non_dominated(values: Sequence[Values], names: Sequence[str] = OBJECTIVES) -> list[bool]:
    """Whether each point stays on the front.

    Points are taken by falling metric; one is dropped when a point that stays has at least its
    metric at a time and a memory no larger within the resolution, unless the two are ties in all
    three. Comparing with points that stay only keeps chains of near-ties from emptying the front.
    Recorded runs may have other objectives, and are taken by the first one.
    """
    import numpy as np

    signs = np.array([1.0 if is_minimized(name, names) else -1.0 for name in names])
    ratios = 1 + np.array([RESOLUTIONS.get(name, 0.0) for name in names])
    costs = np.array(values, dtype=float).reshape(-1, len(names)) * signs  # (N, D), all minimized
    keep = [False] * len(values)
    front = np.empty((0, len(names)))
    for index in sorted(range(len(values)), key=lambda i: tuple(costs[i])):
        point = costs[index]
        if not _beaten(point, front, ratios):
            keep[index] = True
            front = np.vstack([front, point])
    return keep


def _beaten(point: Any, front: Any, ratios: Any) -> bool:
    """`front`: (N, D), the first objective at most that of `point`; `ratios`: (D,)."""
    cheap = (front[:, 1:] <= point[1:] * ratios[1:]).all(axis=1)
    better = (front * ratios < point).any(axis=1)
    return bool((cheap & better).any())
