"""Recorded curves played back as an objective: no training, no torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batchfront.objectives.curves.table import Table, read_table
from batchfront.objectives.length import Length
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.metric import AS_DECLARED, AskedMetric, Metric, as_metric
from batchfront.objectives.parameter import Parameter, Value
from batchfront.objectives.run import Run

STEPS_PER_EPOCH = 20
"""Steps that stand for an epoch: its mean loss, over and over; fewer where the table says there
were fewer. From 15 epochs on these make two windows of the divergence guard, which wants three bad
ones in a row: one bad epoch is not divergence. In shorter tables, as in short runs, it may be."""

LOSS_COLUMN = "train_loss"
LOSS_METRIC = Metric(LOSS_COLUMN, direction="minimize")


class ReplayObjective:
    """Plays a `Table`: parameters snap to the recorded grid, the seed picks a recorded seed."""

    def __init__(
        self, table: Table, *, name: str, digest: str = "", asked: AskedMetric = AS_DECLARED
    ) -> None:
        self.table = table
        self.name = name
        self.metric = _metric_of(table, asked, name)
        self.default_epochs = table.epochs
        self.max_epochs: int | None = table.epochs
        self.recorded_sizes = tuple(table.batch_sizes)
        self.recorded: Length | None = None if table.length.is_plain else table.length
        self.whole_epochs = False  # `recorded` says more
        self.n_train: int | None = None  # a table does not say them
        self.tokens_per_example: int | None = None
        self.batch_sizes: tuple[int, int | None] = (table.batch_sizes[0], table.batch_sizes[-1])
        self.search: Mapping[str, Parameter] = {}
        self.compiled = False
        self.notes: tuple[str, ...] = ()
        self.behaviour: Mapping[str, Any] = {}
        self.fingerprint = {"table": digest, "optimizer": table.optimizer}

    def predict_peak_bytes(
        self, batch_size: int, values: Mapping[str, Value] | None = None
    ) -> None:
        """The table knows it."""

    def __call__(self, params: TrialParams, run: Run) -> None:
        table = self.table
        recorded = table.nearest(params.batch_size, params.learning_rate, params.seed)
        by_loss, n_rows = self.metric.name == LOSS_COLUMN, params.planned.points
        steps = _steps_of(table, recorded.batch_size)
        run.begin(
            sum(steps[:n_rows]),
            baseline_loss=table.baseline_loss,
            baseline_metric=table.baseline_loss if by_loss else table.baseline_metric,
        )
        run.told_cost(
            step_seconds=table.epoch_seconds(recorded.batch_size) * table.epochs / sum(steps),
            peak_memory_bytes=table.peak_memory_bytes(recorded.batch_size),
        )
        values = recorded.train_loss if by_loss else recorded.val_accuracy
        _play(recorded.train_loss[:n_rows], values[:n_rows], steps[:n_rows], run)


def _steps_of(table: Table, batch_size: int) -> list[int]:
    """The steps that stand for each row of a whole run: at least one, which loses what it lost."""
    taken = table.steps(batch_size) or [STEPS_PER_EPOCH] * table.epochs
    return [min(max(n, 1), STEPS_PER_EPOCH) for n in taken]


def _metric_of(table: Table, asked: AskedMetric, name: str) -> Metric:
    """The table's validation metric, or its training loss where that is asked for."""
    declared = LOSS_METRIC if asked.name == LOSS_COLUMN else as_metric(table.metric)
    metric = as_metric(asked.of(declared) or declared)
    if metric.name != declared.name:
        raise ObjectiveError(
            f"{name} has {table.metric} and {LOSS_COLUMN} to be played back, not {metric}"
        )
    return metric


def _play(losses: Sequence[float], values: Sequence[float], steps: Sequence[int], run: Run) -> None:
    """Play; a run that is to go on later is kept, the others would take longer to save."""
    first = 0 if run.restored is None else run.restored["epoch"]
    run.keeps_if_asked = True
    for epoch, (loss, value) in enumerate(zip(losses, values, strict=True)):
        if epoch < first:
            continue
        for _ in range(steps[epoch]):
            run.step(loss)
        run.report(value)
        if run.asked_to_keep:
            run.save({"epoch": epoch + 1})
    if len(losses) < len(steps):  # it went non-finite and has no further rows
        for _ in range(steps[len(losses)]):
            run.step(math.nan)


def load_replay(path: Path, asked: AskedMetric = AS_DECLARED) -> ReplayObjective:
    """The table in a file as an objective, named after the file.

    Raises:
        ObjectiveError: the table is missing or malformed.
    """
    table = read_table(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return ReplayObjective(table, name=path.name, digest=digest, asked=asked)
