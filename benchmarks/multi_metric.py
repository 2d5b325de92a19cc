"""OptunaHub's MultiMetricPruner around a median pruner, its joint-rank rule re-stated.

The package needs the network to be loaded. Its rule: at every epoch all trials that reached it are
ranked by non-dominated sorting of (accuracy, seconds so far, bytes); the ranks are what a median
pruner then sees. Restated for trials that run one after the other, where ranks once given to a
trial's own earlier epochs do not change any more, and without the breaking of ties within a rank by
hypervolume that some of its versions add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batchfront.objectives.measurement import Verdict
from batchfront.study.pruning.decision import Decision, RunSoFar

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

    from batchfront.objectives.curves.table import Table

STARTUP_TRIALS = 5  # of the median pruner


class MultiMetricRule:
    """Stops a run whose best rank so far is above the median of the ranks at this epoch."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._at: dict[int, dict[int, tuple[float, float, float]]] = {}  # epoch: trial: minimized
        self._best: dict[int, int] = {}  # trial: lowest rank so far

    def judge(self, study: Study, trial: Trial, progress: RunSoFar) -> Decision | None:
        """Pruned, or None to go on."""
        epoch, number = len(progress.curve), trial.number
        seconds = self._table.epoch_seconds(progress.batch_size) * epoch
        here = self._at.setdefault(epoch, {})
        here[number] = (-progress.curve[-1], seconds, progress.peak_memory_bytes)
        ranks = dict(zip(here, non_domination_ranks(np.array(list(here.values()))), strict=True))
        self._best[number] = min(self._best.get(number, ranks[number]), ranks[number])
        others = [rank for other, rank in ranks.items() if other != number]
        if number < STARTUP_TRIALS or not others or self._best[number] <= np.median(others):
            return None
        return Decision(verdict=Verdict.PRUNED, reason="joint rank", shortfall=1.0)


def non_domination_ranks(values: np.ndarray) -> list[int]:
    """(N, K) minimized values to ranks: 0 is the front, 1 the front of the rest, ..."""
    no_worse = (values[:, None] <= values).all(axis=2)
    dominates = no_worse & (values[:, None] < values).any(axis=2)  # (N, N)
    ranks = np.zeros(len(values), dtype=int)
    left = np.arange(len(values))
    rank = 0
    while len(left):
        front = ~dominates[np.ix_(left, left)].any(axis=0)
        ranks[left[front]] = rank
        left = left[~front]
        rank += 1
    return [int(r) for r in ranks]
