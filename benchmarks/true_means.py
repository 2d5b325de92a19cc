"""What all recorded runs of a table say, and how the answer of one study does against it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

from batchfront.objectives.curves.table import Table
from batchfront.study.answer.choice import Answer, answer_from
from batchfront.study.answer.known import Known, known_of
from batchfront.study.answer.model import learned_of
from batchfront.study.trials.attributes import batch_size_of
from benchmarks.playback import final_metric
from benchmarks.score import costs_of

if TYPE_CHECKING:
    import optuna

    from batchfront.study.answer.model import SizeEstimate
    from batchfront.study.search.surface import Shape

Point = tuple[int, float]  # batch size and learning rate of the grid
LEAST = 0.001  # deviation between seeds of tables that tie
BEST_POINTS = 8  # of the grid, whose deviations count


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How the answer of one study does."""

    columns: dict[str, float]
    point: Point  # that is nearest to what is recommended
    error: float  # standard error of the point's recorded mean, in deviations between seeds


def least_bias(studies: Sequence[Judged]) -> float:
    """Mean size, in deviations, of the mean bias of studies that promise the truth.

    A recorded mean is off by the same in all studies that recommend its point; what the points'
    means are off by is independent. A normal variable is sqrt(2 / pi) deviations off on average.
    """
    shares = Counter(one.point for one in studies)
    errors = {one.point: one.error for one in studies}
    variance = sum((n / len(studies) * errors[point]) ** 2 for point, n in shares.items())
    return math.sqrt(2 / math.pi * variance)


def known_runs(study: optuna.Study) -> Known:
    """What a study knows of the one machine."""
    (known,) = known_of(study, study.trials).values()
    return known


def nearest(table: Table, size: int, rate: float) -> Point:
    """The grid point nearest to a batch size and a rate."""
    found = table.nearest(size, rate, 0)
    return found.batch_size, found.learning_rate


class Truth:
    """What all recorded runs of a table say."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.runs: dict[Point, list[float]] = defaultdict(list)  # final metrics
        for (size, rate, _), run in table.runs.items():
            self.runs[size, rate].append(max(final_metric(table, run), 0.0))
        self.means = {point: mean(metrics) for point, metrics in self.runs.items()}
        self.best = max(self.means.values())
        top = sorted(self.means, key=lambda point: -self.means[point])[:BEST_POINTS]
        self.deviation = max(LEAST, mean(stdev(self.runs[point]) for point in top))

    def judge(self, study: optuna.Study, shape: Shape | None = None) -> Judged:
        """The columns of one study; `shape`: of its surface, where it is known beforehand."""
        known = known_runs(study)
        answer = answer_from(learned_of(known, shape), known)
        if answer.recommended is None:
            raise SystemExit(f"{self.table.task}: {answer.reason}")
        found = answer.recommended.shown
        point = nearest(self.table, found.batch_size, found.learning_rate)
        error = stdev(self.runs[point]) / math.sqrt(len(self.runs[point])) / self.deviation
        columns = self._columns(study, answer, found, point)
        return Judged(columns=columns, point=point, error=error)

    def _columns(
        self, study: optuna.Study, answer: Answer, found: SizeEstimate, point: Point
    ) -> dict[str, float]:
        least, most = found.fresh_run
        regret = self.best - self.means[point]
        costs = costs_of(self.table)
        allowed = answer.tolerance + self.deviation / math.sqrt(len(self.runs[point]))
        good = [size for (size, _), value in self.means.items() if self.best - value <= allowed]
        lucky = max((t for t in study.trials if t.values), key=lambda trial: trial.values[0])
        lucky_point = nearest(
            self.table, batch_size_of(lucky.params), lucky.params["learning_rate"]
        )
        return {
            "bias": (1 - found.error - self.means[point]) / self.deviation,
            "between": (1 - found.error - self._between(found)) / self.deviation,
            "coverage": mean(least <= 1 - value <= most for value in self.runs[point]),
            "regret": regret / self.deviation,
            "within": float(regret <= allowed),
            "seconds_ratio": costs[point[0]] / min(costs[size] for size in good),
            "rate": float(self._holds_best(found)),
            "naive_bias": (max(lucky.values[0], 0.0) - self.means[lucky_point]) / self.deviation,
            "naive_regret": (self.best - self.means[lucky_point]) / self.deviation,
        }

    def _between(self, found: SizeEstimate) -> float:
        """The metric at a rate between two of the grid."""
        import numpy as np

        rates = self.table.learning_rates(found.batch_size)
        means = [self.means[found.batch_size, rate] for rate in rates]
        return float(np.interp(math.log(found.learning_rate), np.log(rates), means))

    def _holds_best(self, found: SizeEstimate) -> bool:
        size, rates = found.batch_size, self.table.learning_rates(found.batch_size)
        best = max(rates, key=lambda rate: self.means[size, rate])
        low = nearest(self.table, size, found.learning_rate_low)[1]
        high = nearest(self.table, size, found.learning_rate_high)[1]
        not_below = low <= best or not found.is_bounded_below
        return not_below and (best <= high or not found.is_bounded_above)
