"""What a recorded table can tell: means over its seeds, their standard errors, and what ties.

A grid point's error is the mean of a few recorded seeds, and the best of many such means was lucky,
too. Points whose distance to the best of their batch size is within two standard errors of that
difference tie with it: whoever finds one of them has found the best, as far as the table can tell.
A handful of seeds says little about its own scatter, so that is pooled over the points of a table
that are nearly the best of their size, in shares of their error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean, median, variance

from batchfront.objectives.curves.table import Table
from benchmarks.pruning import Axes, final_metric, finals, volume_axes

Point = tuple[int, float]  # batch size and learning rate
ALIKE = 1.5
"""Points whose error is at most so many times that of the best tell of the noise around it."""
LEAST_ERROR = 0.005  # added to errors before they are compared: some are nearly 0
SURE = 2.0  # standard errors from which on two points differ


@dataclass(frozen=True, kw_only=True)
class Means:
    """Errors of grid points, capped at `worst`, and the standard deviation between seeds."""

    errors: dict[Point, float]
    n_seeds: dict[Point, int]
    noise: float  # a deviation between seeds, in shares of error + LEAST_ERROR
    worst: float

    def best(self, size: int) -> Point:
        """The point of least mean error at that batch size."""
        own = [point for point in self.errors if point[0] == size]
        return min(own, key=lambda point: self.errors[point])

    def doubt(self, point: Point) -> float:
        """Standard error of the difference between a point and the best of its size."""
        return self._doubt(self.best(point[0]), point)

    def is_better(self, one: Point, other: Point) -> bool:
        """Whether the seeds tell that the error of `one` is less."""
        return self.errors[other] - self.errors[one] > SURE * self._doubt(one, other)

    def _doubt(self, better: Point, worse: Point) -> float:
        per_seed = self.noise * (self.errors[better] + LEAST_ERROR)
        return per_seed * math.sqrt(1 / self.n_seeds[worse] + 1 / self.n_seeds[better])

    def tied(self) -> dict[Point, float]:
        """Errors, where those that tie with the best of their size are as good as it."""
        found = {}
        for point, error in self.errors.items():
            best = self.best(point[0])
            off = error - self.errors[best]
            found[point] = self.errors[best] if off <= SURE * self.doubt(point) else error
        return found

    def share_tied(self) -> float:
        """The share of points that tie with the best of their size: the median over sizes."""
        tied = self.tied()
        sizes: dict[int, list[bool]] = {}
        for point, error in tied.items():
            sizes.setdefault(point[0], []).append(error <= self.errors[self.best(point[0])])
        return median(mean(one) for one in sizes.values())


def means_of(table: Table) -> Means:
    """The means of a table."""
    worst = 2 * median(1 - final for final in finals(table))
    runs: dict[Point, list[float]] = {}
    for (size, rate, _), run in sorted(table.runs.items()):
        runs.setdefault((size, rate), []).append(1 - max(final_metric(table, run), -1e9))
    errors = {point: min(mean(ends), worst) for point, ends in runs.items()}
    shares = []
    for size in table.batch_sizes:
        own = {point: errors[point] for point in runs if point[0] == size}
        level = ALIKE * (min(own.values()) + LEAST_ERROR)
        near = [p for p, error in own.items() if error + LEAST_ERROR <= level and len(runs[p]) > 1]
        shares += [variance(runs[p]) / (errors[p] + LEAST_ERROR) ** 2 for p in near]
    return Means(
        errors=errors,
        n_seeds={point: len(ends) for point, ends in runs.items()},
        noise=math.sqrt(mean(shares)) if shares else 0.0,
        worst=worst,
    )


def axes_with_ties(table: Table) -> Axes:
    """The axes of `volume_axes`, on which what ties with the best of its size is as good."""
    points, reference = volume_axes(table)
    tied = means_of(table).tied()
    return {point: (tied[point], *costs) for point, (_, *costs) in points.items()}, reference
