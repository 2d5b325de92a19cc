"""Recorded curves played back as an objective: no training, no torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchfront.objectives.curves.table import RecordedRun, Table, read_table
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.parameter import Parameter
from batchfront.objectives.run import Run

STEPS_PER_EPOCH = 20
"""Steps that stand for an epoch: its mean loss, over and over. A table does not say how many there
were. From 15 epochs on these make two windows of the divergence guard, which wants three bad ones
in a row: one bad epoch is not divergence. In shorter tables, as in short runs, it may be."""


class ReplayObjective:
    """Plays a `Table`: parameters snap to the recorded grid, the seed picks a recorded seed."""

    def __init__(self, table: Table, *, name: str, digest: str = "") -> None:
        self.table = table
        self.name = name
        self.metric = table.metric
        self.default_epochs = table.epochs
        self.max_epochs: int | None = table.epochs
        self.batch_sizes: tuple[int, int | None] = (table.batch_sizes[0], table.batch_sizes[-1])
        self.search: Mapping[str, Parameter] = {}
        self.compiled = False
        self.notes: tuple[str, ...] = ()
        self.behaviour: Mapping[str, Any] = {}
        self.fingerprint = {"table": digest, "optimizer": table.optimizer}

    def predict_peak_bytes(self, batch_size: int) -> None:
        """The table knows it."""

    def __call__(self, params: TrialParams, run: Run) -> None:
        table = self.table
        recorded = table.nearest(params.batch_size, params.learning_rate, params.seed)
        run.begin(
            params.epochs * STEPS_PER_EPOCH,
            baseline_loss=table.baseline_loss,
            baseline_metric=table.baseline_metric,
        )
        run.told_cost(
            step_seconds=table.epoch_seconds(recorded.batch_size) / STEPS_PER_EPOCH,
            peak_memory_bytes=table.peak_memory_bytes(recorded.batch_size),
        )
        _play(recorded, params.epochs, run)


def _play(recorded: RecordedRun, epochs: int, run: Run) -> None:
    losses, values = recorded.train_loss[:epochs], recorded.val_accuracy[:epochs]
    for loss, value in zip(losses, values, strict=True):
        for _ in range(STEPS_PER_EPOCH):
            run.step(loss)
        run.report(value)
    if len(losses) < epochs:  # it went non-finite and has no further rows
        for _ in range(STEPS_PER_EPOCH):
            run.step(math.nan)


def load_replay(path: Path) -> ReplayObjective:
    """The table in a file as an objective, named after the file.

    Raises:
        ObjectiveError: the table is missing or malformed.
    """
    table = read_table(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return ReplayObjective(table, name=path.name, digest=digest)
