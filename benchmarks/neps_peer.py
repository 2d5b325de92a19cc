"""Searches of NePS (https://github.com/automl/neps), played by way of `neps_server.py`."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchfront.objectives.curves.table import RecordedRun, Table
from batchfront.study.trials.attributes import derive_seed
from benchmarks.neps_server import ALGORITHMS
from benchmarks.playback import Played

SERVER = Path(__file__).with_name("neps_server.py")
PREFIX = "neps-"
NAMES = tuple(f"{PREFIX}{algorithm}" for algorithm in ALGORITHMS)
WORST = 1.0  # error, also that of a run whose loss became no number


def neps_runs(table: Table, *, name: str, seed: int, python: str) -> Iterator[tuple[Played, float]]:
    """Runs one after the other, each with the seconds spent asking.

    One that goes on from a lower rung is a run more, and costs the epochs that it adds.
    """
    rates = [rate for size in table.batch_sizes for rate in table.learning_rates(size)]
    asked = {
        "algorithm": name.removeprefix(PREFIX),
        "seed": seed,
        "log2_batch_size": [
            b.bit_length() - 1 for b in (table.batch_sizes[0], table.batch_sizes[-1])
        ],
        "learning_rate": [min(rates), max(rates)],
        "epochs": table.epochs,
    }
    done: dict[str, tuple[RecordedRun, int]] = {}  # by what NePS calls it: run and epochs
    with _server(python, asked) as server:
        for number in itertools.count():
            before = time.perf_counter()
            wanted = json.loads(server.stdout.readline())
            seconds = time.perf_counter() - before
            luck = derive_seed(seed, number, purpose="trial")
            nearest = table.nearest(2 ** wanted["log2_batch_size"], wanted["learning_rate"], luck)
            run, so_far = done.get(wanted["before"], (nearest, 0))
            epochs = min(wanted["epochs"], len(run.val_accuracy))
            done[wanted["id"]] = run, epochs
            yield _played(table, run, epochs, since=so_far), seconds
            _say(server, _values(table, run, epochs))


@contextmanager
def _server(python: str, asked: dict[str, Any]) -> Iterator[Any]:
    command = [python, str(SERVER)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        _say(process, asked)
        try:
            yield process
        finally:
            process.kill()


def _say(server: Any, what: Any) -> None:
    server.stdin.write(json.dumps(what) + "\n")
    server.stdin.flush()


def _played(table: Table, run: RecordedRun, epochs: int, *, since: int) -> Played:
    return Played(
        run=run,
        completed=run.is_finite and epochs == table.epochs,
        train_seconds=table.epoch_seconds(run.batch_size) * max(epochs - since, 0),
    )


def _values(table: Table, run: RecordedRun, epochs: int) -> list[float]:
    """Error, seconds and bytes: the last two are known, so they are those of a whole run."""
    value = run.val_accuracy[epochs - 1]
    return [
        min(1 - value, WORST) if math.isfinite(value) else WORST,
        table.epoch_seconds(run.batch_size) * table.epochs,
        float(table.peak_memory_bytes(run.batch_size)),
    ]
