"""How far a search has come: hypervolume and regret, as its table knows them.

Points that tie with the best of their batch size are as good as it: see benchmarks/seed_means.py.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from batchfront.objectives.curves.table import Table
from benchmarks.hypervolume import hypervolume
from benchmarks.playback import Played
from benchmarks.pruning import dominated_volume
from benchmarks.seed_means import SURE, axes_with_ties, means_of

Row = dict[str, Any]
BUDGET = 60  # training seconds, in mean costs of a batch size
SHARES = {"seconds_to_90": 0.90, "seconds_to_95": 0.95, "seconds_to_98": 0.98}
COUNTS = {"hypervolume_10": 10, "hypervolume_20": 20, "hypervolume_40": 40}
NEAR = 0.005  # of the best error of a batch size
MISSING = 0.05  # of the hypervolume, where 95% of it are there


def summary(outcomes: Sequence[dict[str, float]]) -> dict[str, float | None]:
    """Medians; null where half of the seeds did not get there."""
    row: dict[str, float | None] = {}
    for key in outcomes[0]:
        middle = (mean if key == "ask_seconds" else median)(o[key] for o in outcomes)
        row[key] = middle if math.isfinite(middle) else None
    return row


def costs_of(table: Table) -> dict[int, float]:
    """Seconds of a whole run at each batch size."""
    return {size: table.epoch_seconds(size) * table.epochs for size in table.batch_sizes}


@dataclass(kw_only=True)
class Score:
    """Follows one search."""

    table: Table
    seconds: float = 0.0
    n_trials: int = 0
    hypervolume: float = 0.0
    ask_seconds: float = 0.0
    reached: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._axes = axes_with_ties(self.table)
        points, reference = self._axes
        self._total = hypervolume(list(points.values()), reference)
        self._best = {
            size: min(error for (b, _), (error, *_) in points.items() if b == size)
            for size in self.table.batch_sizes
        }
        self._found = dict.fromkeys(self._best, reference[0])  # error by batch size
        self._done: list[Any] = []

    @functools.cached_property
    def budget(self) -> float:
        """Training seconds."""
        return BUDGET * mean(costs_of(self.table).values())

    def is_over(self, max_trials: int) -> bool:
        """Whether nothing more may be run."""
        return self.seconds >= self.budget or self.n_trials >= max_trials

    def add(self, played: Played, *, is_new: bool = True) -> None:
        """One run more; or one that was paused and went on, with the seconds that this took."""
        self.seconds += played.train_seconds
        self.n_trials += is_new
        run = played.run
        error = self._axes[0][run.batch_size, run.learning_rate][0]
        if played.completed and error < self._found[run.batch_size]:
            self._found[run.batch_size] = error
            self._done.append(run)
            self.hypervolume = dominated_volume(self._axes, self._done) / self._total
        for key, share in SHARES.items():
            if self.hypervolume >= share - 1e-9:
                self.reached.setdefault(key, self.seconds)
        if max(self._regrets()) <= NEAR + 1e-9:
            self.reached.setdefault("seconds_to_regret_005", self.seconds)
        for key, count in COUNTS.items():
            if is_new and self.n_trials == count:
                self.reached[key] = self.hypervolume

    def _regrets(self) -> list[float]:
        return [self._found[size] - best for size, best in self._best.items()]

    def outcome(self) -> dict[str, float]:
        """What the whole search came to."""
        return {
            **{key: self.reached.get(key, math.inf) for key in SHARES},
            **{key: self.reached.get(key, self.hypervolume) for key in COUNTS},
            "hypervolume": self.hypervolume,
            "regret_mean": mean(self._regrets()),
            "regret_worst": max(self._regrets()),
            "seconds_to_regret_005": self.reached.get("seconds_to_regret_005", math.inf),
            "ask_seconds": self.ask_seconds / max(self.n_trials, 1),
            "trials": self.n_trials,
            "train_seconds": self.seconds,
        }


def oracle_row(table: Table, name: str) -> Row:
    """The cheapest sets of grid points; the best of each batch size is enough for every share."""
    points, reference = axes_with_ties(table)
    cost = costs_of(table)
    total = hypervolume(list(points.values()), reference)
    best = {b: min(p for (size, _), p in points.items() if size == b) for b in cost}
    sets: list[tuple[float, float]] = [
        (sum(cost[b] for b in some), hypervolume([best[b] for b in some], reference) / total)
        for n in range(1, len(cost) + 1)
        for some in itertools.combinations(cost, n)
    ]
    cheapest: Callable[[float], float] = lambda share: min(  # noqa: E731
        seconds for seconds, volume in sets if volume >= share - 1e-9
    )
    return {
        "table": name,
        "sampler": "oracle",
        "pruner": "",
        "seeds": 1,
        **dict.fromkeys((*COUNTS, "ask_seconds", "trials", "train_seconds")),
        **{key: cheapest(share) for key, share in SHARES.items()},
        "seconds_to_regret_005": sum(cost.values()),
        "hypervolume": 1.0,
        "regret_mean": 0.0,
        "regret_worst": 0.0,
    }


def untold(table: Table) -> list[str]:
    """What the table cannot tell: what two standard errors of its means would change."""
    means = means_of(table)
    points, reference = axes_with_ties(table)
    best = {size: means.best(size) for size in table.batch_sizes}
    off = {size: SURE * means.doubt(point) for size, point in best.items()}
    whole = hypervolume([points[point] for point in best.values()], reference)
    lost = []
    for size in best:  # their errors are independent of each other
        moved = [(points[p][0] + off[size] * (b == size), *points[p][1:]) for b, p in best.items()]
        lost.append(1 - hypervolume(moved, reference) / whole)
    blur = math.hypot(*lost)
    found = []
    if blur > MISSING:
        found.append(f"hypervolume to {blur:.1%}")
    if median(off.values()) > NEAR:
        found.append(f"regret to {median(off.values()):.3f}")
    return found
