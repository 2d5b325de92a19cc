"""Worlds for `claims`: one figure a run at each size, with or without a trend, sizes scattered."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchfront.study.findings.claims.claim import AGREE, NOT_SHOWN, Runs
from batchfront.study.findings.claims.ends import smaller_ends_higher
from batchfront.study.findings.claims.shapes import gap_grows
from batchfront.study.trials.rows import RunRow
from benchmarks.worlds.walked import run_row

SEEDS, RATES, SPREAD = 3, 7, 0.002
TRENDS: dict[str, tuple[int, float, float]] = {  # sizes, deviations a doubling, scatter of sizes
    f"{sizes} sizes, scatter {scatter:g}, {'trend' if trend else 'none'}": (sizes, trend, scatter)
    for sizes in (5, 9)
    for scatter in (0.0, 1.0, 2.0)
    for trend in (0.0, 2.0)
}


def trend_study(world: str, seed: int) -> dict[str, Any]:
    """Whether a false verdict is given, or a true one, on a gap that grows and on the metric."""
    sizes, trend, scatter = TRENDS[world]
    evidence = Runs(rows=_rows(sizes, trend, scatter, np.random.default_rng(seed)))
    seen: dict[str, Any] = {}
    for name, rule in {"gap": gap_grows, "metric": smaller_ends_higher}.items():
        verdict = rule(name, evidence).verdict
        if trend:
            seen[f"{name} found"] = verdict == AGREE
        else:
            seen[f"{name} false"] = verdict != NOT_SHOWN
    return seen


def _rows(n_sizes: int, trend: float, scatter: float, draw: np.random.Generator) -> list[RunRow]:
    """A grid of rates; scatter and trend are in deviations between seeds."""
    rows: list[RunRow] = []
    for k in range(n_sizes):
        level = SPREAD * (trend * k + scatter * draw.standard_normal())
        gap = SPREAD * (trend * k + scatter * draw.standard_normal())
        for step in range(RATES):
            for _ in range(SEEDS):
                noise = SPREAD * draw.standard_normal(2)
                error = 0.05 + level + 0.03 * (step - RATES // 2) ** 2 * 0.5 + float(noise[0])
                row = run_row(
                    len(rows), 2 ** (k + 3), 10 ** (-3 + 0.4 * step), 1 - error,
                    generalization_gap=0.02 + gap + float(noise[1]),
                )  # fmt: skip
                rows.append(row)
    return rows
