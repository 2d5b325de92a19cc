"""A study whose truth is known: accuracies drawn from a planted surface, no training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from batchfront.study.smallest.agenda import next_runs
from batchfront.study.smallest.ladder import Walk
from batchfront.study.smallest.question import Question
from batchfront.study.smallest.sensitivity import judged
from batchfront.study.trials.rows import RunRow
from tests.study import recorded

SIZES = tuple(2**k for k in range(10))
RATES = (1e-4, 3.0)
TARGET = 0.95
World = Callable[[int, float, np.random.Generator], float | None]


def question(**changes: object) -> Question:
    return Question(**{"target": TARGET, "sizes": SIZES, "learning_rates": RATES, **changes})


def run_row(number: int, size: int, rate: float, metric: float | None, **changes: Any) -> RunRow:
    """A finished run; without a metric it diverged."""
    verdict = "diverged" if metric is None else "completed"
    known = {"metric": metric, "feasible": metric is not None, "verdict": verdict, "seed": number}
    return recorded.run_row(size, rate, number=number, **{**known, **changes})


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Log error is a parabola in log2 of the rate, with a cliff; normal noise between seeds.

    `success`: by batch size, the probability that a seed at the best rate reaches the target.
    """

    success: Callable[[int], float]
    noise: float = 0.15  # deviation of log error
    bottom: float = -4.0  # log2 of the best rate at 64
    tilt: float = 0.5
    bend: float = 0.05
    cliff: float = 3.0  # doublings above the best rate at which runs diverge

    def __call__(self, size: int, rate: float, draw: np.random.Generator) -> float | None:
        off = math.log2(rate) - self.bottom - self.tilt * (math.log2(size) - 6)
        if off > self.cliff:
            return None
        level = math.log(1 - TARGET) - self.noise * norm.ppf(self.success(size))
        error = math.exp(level + self.bend * off**2 + self.noise * draw.standard_normal())
        return max(0.0, 1 - error)


def simulate(world: World, asked: Question, seed: int) -> tuple[Walk, list[RunRow]]:
    """Run all that is asked for; returns where that led, and the runs."""
    draw, rows = np.random.default_rng(seed), []
    while due := next_runs(asked, rows):
        for one in due:
            metric = world(one.batch_size, one.learning_rate, draw)
            asked_for = {"purpose": one.purpose, "score_test": one.score_test}
            rows.append(run_row(len(rows), one.batch_size, one.learning_rate, metric, **asked_for))
    return judged(asked, rows), rows
