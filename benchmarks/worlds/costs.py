"""Worlds for `critical-batch`: what runs took to a target, along a line, an elbow or a wall."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from batchfront.study.findings.critical.fit import Estimate, SizeRuns, critical_batch

SIZES = tuple(2**k for k in range(3, 12))
CRITICAL, LEAST = 400.0, 20.0  # examples in a batch; epochs
OVERHEAD = 0.2
COSTS: dict[str, tuple[float, float, float]] = {  # exponent, noise of seeds, scatter of sizes
    "line": (1.0, 0.1, 0.0),
    "line, sizes scatter": (1.0, 0.1, 0.05),
    "elbow 0.7": (0.7, 0.1, 0.0),
    "elbow 1.5": (1.5, 0.1, 0.0),
    "elbow 1.5, few seeds": (1.5, 0.2, 0.0),
    "elbow 2": (2.0, 0.1, 0.0),
}


def cost_study(world: str, seed: int) -> dict[str, Any]:
    """What is shown of one study; coverage is of the studies that show it."""
    exponent, noise, scatter = COSTS[world]
    draw = np.random.default_rng(seed)
    found = critical_batch(planted(exponent, noise, scatter, draw), seed=seed)
    seen: dict[str, Any] = {"line": found.line is not None}
    truth = CRITICAL * OVERHEAD ** (1 / exponent)
    seen["curve"] = found.curve is not None
    if found.line is not None:
        seen["critical covered"] = _covers(found.line.b_crit, CRITICAL)
        seen["fifth covered"] = _covers(found.line.overhead_20, truth)
    if found.curve is not None:
        seen["fifth covered"] = found.curve.fifth_low <= truth <= found.curve.fifth_high
    return seen


def planted(
    exponent: float, noise: float, scatter: float, draw: np.random.Generator, n_seeds: int = 5
) -> list[SizeRuns]:
    """Costs LEAST (1 + (B / CRITICAL)^exponent): of the exponent 1 a line."""
    sizes = []
    for size in SIZES:
        cost = LEAST * (1 + (size / CRITICAL) ** exponent)
        cost *= math.exp(scatter * draw.standard_normal())
        runs = cost * np.exp(noise * draw.standard_normal(n_seeds))
        sizes.append(SizeRuns(batch_size=size, learning_rate=0.1, to_target=tuple(runs.tolist())))
    return sizes


def _covers(estimate: Estimate, truth: float) -> bool:
    return bool(estimate.low <= truth <= estimate.high)
