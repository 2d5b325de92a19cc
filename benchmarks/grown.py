"""Studies of any size, as our worker would leave them: drawn from a recorded table.

python -m benchmarks.grown DATABASE            # begins one
python -m benchmarks.grown DATABASE N_TRIALS   # adds trials until there are so many
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from batchfront.objectives.curves.table import RecordedRun, Table, read_table
from batchfront.storage.open import open_storage
from batchfront.study.plan.settings import StudySettings
from batchfront.study.session.session import Session
from batchfront.study.trials.attributes import CONSTRAINT, CURVE, SO_FAR

TABLE = Path(__file__).parent / "tables" / "digits_sgd_momentum.csv.gz"
NAME = "grown"
N_REAL = 60  # trials that a worker has run, which the others are modelled on
BATCH = 500  # trials an insertion
STOPPED_SHARE = 0.4


def settings(path: Path, n_trials: int, sampler: str = "random") -> StudySettings:
    """The settings of a study played back from the table."""
    return StudySettings(
        task=str(TABLE), storage=f"sqlite:///{path}", study_name=NAME, n_trials=n_trials,
        sampler=sampler, checkpoint_dir="none",
    )  # fmt: skip


def start(path: Path) -> None:
    """A study that a worker has begun."""
    Session(settings(path, N_REAL), Console(file=StringIO())).run()


def grow(path: Path, n_trials: int, seed: int = 0) -> None:
    """Add trials to a study that was begun, until there are so many."""
    storage = open_storage(f"sqlite:///{path}", mode="worker")
    study = optuna.load_study(study_name=NAME, storage=storage)
    real = study.trials
    draw = random.Random(seed)  # noqa: S311 - no secret
    drawn = _drawn(real, read_table(TABLE), draw, n_trials - len(real))
    trials = list(drawn)
    for first in range(0, len(trials), BATCH):
        storage.add_trials(study._study_id, trials[first : first + BATCH])


def _drawn(
    real: list[FrozenTrial], table: Table, draw: random.Random, n: int
) -> Iterator[FrozenTrial]:
    whole = [t for t in real if t.state == TrialState.COMPLETE]
    stopped = [t for t in real if t.state == TrialState.PRUNED]
    runs = [run for _, run in sorted(table.runs.items()) if run.is_finite]
    for number in range(len(real), len(real) + n):
        stops = draw.random() < STOPPED_SHARE
        model = copy.copy(draw.choice(stopped if stops else whole))
        yield _like(model, draw.choice(runs), table, draw, number)


def _like(
    model: FrozenTrial, run: RecordedRun, table: Table, draw: random.Random, number: int
) -> FrozenTrial:
    """The trial of a recorded run, at a learning rate nearby, with all that a trial stores."""
    size, noise = run.batch_size, draw.gauss(0, 0.002)
    low, high = 1e-4, 3.0
    rate = min(max(run.learning_rate * 2 ** draw.gauss(0, 0.3), low), high)
    n_epochs = len(model.user_attrs[CURVE])
    curve = [round(min(max(v + noise, 0.0), 1.0), 6) for v in run.val_accuracy[:n_epochs]]
    seconds = table.epoch_seconds(size) * table.epochs
    memory = float(table.peak_memory_bytes(size))
    spent = seconds * n_epochs / table.epochs
    attributes = {
        **model.user_attrs, CURVE: curve, "best_metric": max(curve), "seed": draw.randrange(2**31),
        "measured_seconds": spent, "process_seconds": spent, "planned_train_seconds": seconds,
        "train_loss": run.train_loss[len(curve) - 1],
    }  # fmt: skip
    model.number = number
    model.params = {"batch_size": size, "learning_rate": rate}
    if model.state == TrialState.COMPLETE:
        model.values = [curve[-1], seconds, memory]
    else:
        attributes[SO_FAR] = [curve[-1], seconds, memory]
        grade = draw.random() if model.system_attrs[f"constraints:{CONSTRAINT}"] < 1 else 2.0
        model.system_attrs = {**model.system_attrs, f"constraints:{CONSTRAINT}": grade}
    model.user_attrs = attributes
    model.datetime_start = datetime(2026, 1, 1) + timedelta(seconds=number)
    model.datetime_complete = model.datetime_start + timedelta(seconds=0.5)
    return model


if __name__ == "__main__":
    database, *n_trials = sys.argv[1:]
    if n_trials:
        grow(Path(database), int(n_trials[0]))
    else:
        start(Path(database))
