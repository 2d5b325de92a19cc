"""Runs as evidence, made up or read from a table of recorded curves."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from batchfront.objectives.curves.table import Table
from batchfront.study.trials.rows import RunRow

BLANK: dict[str, Any] = {field.name: None for field in fields(RunRow)} | {
    "number": 0, "waits": False, "finished": True, "feasible": True, "verdict": "completed",
    "stride": 1, "curve": (), "epochs": 20, "score_test": False, "phases": (),
}  # fmt: skip


def run_row(batch_size: int, learning_rate: float, **known: Any) -> RunRow:
    """A completed run, but for what is `known`."""
    return RunRow(**{**BLANK, "batch_size": batch_size, "learning_rate": learning_rate, **known})


def rows_of_table(table: Table, *, n_train: int) -> list[RunRow]:
    """The rows as `import` would make them."""
    rows = []
    for (size, rate, seed), run in table.runs.items():
        fine = run.is_finite
        rows.append(
            run_row(
                size,
                rate,
                seed=seed,
                verdict="completed" if fine else "non_finite",
                metric=run.val_accuracy[-1] if fine else None,
                curve=run.val_accuracy if fine else (),
                epochs=table.epochs,
                total_steps=table.epochs * -(-n_train // size),
                train_seconds=run.train_seconds[-1],
                peak_memory_bytes=run.peak_memory_bytes,
            )
        )
    return rows
