"""Batches of an IterableDataset, which is read anew in every epoch, by one process at most.

Imported where it is used, as torch has to be there for its class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from torch.utils.data import IterableDataset

from batchfront.objectives.loading.datasets import Datasets
from batchfront.objectives.loading.fetch import Failed, failed, kept_apart, seed_globals
from batchfront.objectives.loading.loader import begun, end_with, make_loader, why
from batchfront.objectives.loading.tree import moved
from batchfront.objectives.measurement import ObjectiveError


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read of a split, in batches of `size` examples."""

    split: str
    training: bool  # as training collates them, and what is left over is kept
    seed: int
    size: int
    passes: tuple[tuple[int, int, int], ...]  # pass over the split, from which example, how many
    rest: tuple[Any, ...] = ()  # examples that come first


@dataclass(frozen=True)
class Rest:
    """Examples that were too few for another batch."""

    examples: tuple[Any, ...]


class Reader(IterableDataset[Any]):
    """The batches of a reading, for a loader that does not batch by itself."""

    def __init__(self, datasets: Datasets, reading: Reading) -> None:
        self._datasets, self._reading = datasets, reading

    def __iter__(self) -> Iterator[Any]:
        reading = self._reading
        passes = (self._read(*one) for one in reading.passes)
        examples = chain(reading.rest, chain.from_iterable(passes))
        while True:
            with kept_apart():
                try:
                    some = list(islice(examples, reading.size))
                    is_rest = len(some) < reading.size and (reading.training or not some)
                    batch = Rest(tuple(some)) if is_rest else self._batch(some)
                except _Ended as ended:
                    batch = Failed(str(ended))
                except Exception as error:  # user code may raise anything
                    batch = failed(reading.split, error)
            yield batch
            if isinstance(batch, Failed | Rest):
                return

    def _batch(self, examples: list[Any]) -> Any:
        reading = self._reading
        return self._datasets.collate(reading.split, examples, training=reading.training)

    def _read(self, passes: int, start: int, n: int) -> Iterator[Any]:
        """Examples `start` to `start + n` of one pass, each with random numbers of its own."""
        split, seed = self._reading.split, self._reading.seed
        seed_globals(seed, passes)
        stream = iter(self._datasets.of(split))
        for index in range(start + n):
            seed_globals(seed, passes, index)
            try:
                example = next(stream)
            except StopIteration:
                wanted = getattr(self._datasets, f"n_{split}")
                raise _Ended(
                    f"{split} ended after {index} examples, and n_{split} says {wanted}: give the "
                    "number that one pass has"
                ) from None
            if index >= start:
                yield example


class _Ended(Exception):
    """A stream is over too early; a StopIteration would end the batches quietly."""


def read(
    datasets: Datasets, reading: Reading, *, device: str, workers: bool = True
) -> Iterator[Any]:
    """The batches on a device, and in the end the `Rest`.

    Raises:
        ObjectiveError: the stream ended early, or what it or its collate function raised.
    """
    reader = Reader(datasets, reading)
    elsewhere = workers and datasets.num_workers > 0
    for batch in _elsewhere(reader, datasets, device) if elsewhere else iter(reader):
        if isinstance(batch, Failed):
            raise ObjectiveError(batch.said)
        yield batch if isinstance(batch, Rest) else moved(batch, device)


def _elsewhere(reader: Reader, datasets: Datasets, device: str) -> Iterator[Any]:
    try:
        loader = make_loader(reader, datasets, device, workers=1)
        batches = begun(loader)
        end_with(loader, batches)
        yield from batches
    except Exception as error:
        raise why(error) from error
