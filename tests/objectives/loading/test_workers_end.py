"""Workers that load data end when the task is no longer needed, also where it knows itself."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from batchfront.objectives.loading.datasets import Datasets
from batchfront.objectives.loading.fetch import Key
from batchfront.objectives.loading.loader import Loader
from batchfront.objectives.loading.stream import Reading, read
from tests.objectives.loading.people import Noisy, Stream

KEYS = [Key(split="val", training=False, seed=1, examples=((0, i),)) for i in range(6)]


def by_index() -> Iterator[Any]:
    splits = Datasets(train=Noisy("train"), val=Noisy("val"), num_workers=2)
    return Loader(splits, device="cpu").batches(KEYS)


def from_a_stream() -> Iterator[Any]:
    splits = Datasets(train=Stream("train"), val=Stream("val"), num_workers=2, n_train=50, n_val=20)
    return read(splits, READING, device="cpu")


READING = Reading(split="val", training=False, seed=1, size=2, passes=((0, 0, 20),))


@pytest.mark.slow
@pytest.mark.parametrize("batches_of", [by_index, from_a_stream])
@pytest.mark.parametrize("n_read", [1, 6])
def test_workers_in_a_circle_are_told_to_end(batches_of, n_read):
    """Nobody waits for them until they are killed: they end by themselves, with exit code 0."""
    gc.collect()
    before = set(multiprocessing.active_children())
    task = SimpleNamespace(batches=batches_of())
    task.itself = task
    for _ in range(n_read):
        next(task.batches)
    workers = set(multiprocessing.active_children()) - before
    assert workers
    del task
    gc.collect()
    for worker in workers:
        worker.join(2)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
