"""Examples fetched and collated, in this process or in a loader's worker.

What an example draws from the global generators follows from seed, pass and index alone, so that
augmentation is the same whatever the number of workers, and the same when a run is resumed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from batchfront.objectives.device.randomness import random_states, restore_random_states
from batchfront.objectives.loading.datasets import Datasets
from batchfront.objectives.raised import Halted, words_of

SHOWN = 200  # letters of what a dataset raised
COLLATE = -1  # in place of an index


@dataclass(frozen=True, kw_only=True)
class Key:
    """The examples of one batch."""

    split: str
    training: bool  # as training collates them
    seed: int
    examples: tuple[tuple[int, int], ...]  # (pass over the split, index)


@dataclass(frozen=True)
class Failed:
    """What went wrong, in words: exceptions of all kinds do not survive a pipe."""

    said: str


class Fetcher:
    """A map-style dataset from keys to batches, for a loader that does not batch by itself."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets

    def __getitem__(self, key: Key) -> Any:
        with kept_apart():
            return self._batch(key)

    def _batch(self, key: Key) -> Any:
        dataset, examples = self._datasets.of(key.split), []
        where = key.split
        try:
            for passes, index in key.examples:
                where = f"{key.split}[{index}]"
                seed_globals(key.seed, passes, index)
                examples.append(dataset[index])
            where = "train_collate_fn" if key.training else "collate_fn"
            seed_globals(key.seed, *key.examples[0], COLLATE)
            return self._datasets.collate(key.split, examples, training=key.training)
        except Halted:
            raise
        except Exception as error:  # user code may raise anything
            return failed(where, error)


def failed(where: str, error: BaseException) -> Failed:
    """What user code has raised, in one line."""
    return Failed(f"{where} raises {words_of(error)}".splitlines()[0][:SHOWN])


@contextmanager
def kept_apart() -> Iterator[None]:
    """Puts the generators of the process that trains back afterwards: dropout draws from them."""
    from torch.utils.data import get_worker_info

    if get_worker_info() is not None:
        yield
        return
    states = random_states("cpu")
    try:
        yield
    finally:
        restore_random_states(states, "cpu")


def seed_globals(*parts: int) -> None:
    """Seed the CPU's global generators by some whole numbers."""
    import numpy as np
    import torch

    text = ",".join(map(str, parts)).encode()
    seed = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
