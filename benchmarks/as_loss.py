"""The same recorded runs judged by a loss, of which nothing is known but that less is better."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from batchfront.objectives.curves.replay import LOSS_COLUMN, LOSS_METRIC, ReplayObjective
from batchfront.objectives.curves.table import Table
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.metric import AskedMetric, Metric
from batchfront.objectives.run import Run

TOLD = ("accuracy", "error", LOSS_COLUMN)


class AsError(ReplayObjective):
    """Tells 1 - the table's metric."""

    def __init__(self, table: Table, *, name: str) -> None:
        super().__init__(table, name=name)
        self.metric = Metric("error", direction="minimize")

    def __call__(self, params: TrialParams, run: Run) -> None:
        super().__call__(params, _Mirror(run))  # type: ignore[arg-type]


class _Mirror:
    """A run that is told 1 - every metric."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def begin(self, n_steps: int, *, baseline_loss: float, baseline_metric: float) -> None:
        self._run.begin(n_steps, baseline_loss=baseline_loss, baseline_metric=1 - baseline_metric)

    def report(self, value: float) -> None:
        self._run.report(1 - value)


def objective_of(table: Table, told: str) -> ReplayObjective:
    """The table as an objective that tells one of TOLD."""
    if told == "error":
        return AsError(table, name=table.task)
    asked = AskedMetric(name=LOSS_METRIC.name if told == LOSS_COLUMN else None)
    return ReplayObjective(table, name=table.task, asked=asked)


def judged_by(table: Table, told: str) -> Table:
    """The table whose 1 - metric is the error by which a search is judged: what it was told."""
    if told != LOSS_COLUMN:
        return table
    runs = {
        key: replace(run, val_accuracy=tuple(1 - loss for loss in run.train_loss))
        for key, run in table.runs.items()
    }
    return replace(table, runs=runs)
