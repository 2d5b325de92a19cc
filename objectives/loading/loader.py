"""One torch `DataLoader` for all splits, runs and batch sizes of a task: its workers stay."""

from __future__ import annotations

import os
import signal
import sys
import warnings
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import util
from typing import Any

from batchfront.objectives.loading.datasets import Datasets
from batchfront.objectives.loading.fetch import SHOWN, Failed, Fetcher, Key
from batchfront.objectives.loading.tree import moved
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.raised import Halted, words_of

LAST_SECONDS = 120  # of a worker that was asked to end: longer than the usual grace
DIED = "DataLoader worker"  # how torch begins to speak of one that has


class Asked:
    """The keys of the batches that are asked for next: torch's loader knows no more of ours."""

    keys: Iterable[Key] = ()

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)


class Loader:
    """Batches by their keys, on a device."""

    def __init__(self, datasets: Datasets, *, device: str) -> None:
        self._datasets, self._device = datasets, device
        self._asked = Asked()
        self._made: Any = None
        self._begun: Any = None  # the iterator that its workers belong to

    def batches(self, keys: Iterable[Key], *, workers: bool = True) -> Iterator[Any]:
        """The batches of these keys, in their order; one iteration at a time.

        Raises:
            ObjectiveError: the dataset or its collate function raised, or a worker died.
        """
        fetcher = Fetcher(self._datasets)
        for batch in self._loaded(keys) if workers else map(fetcher.__getitem__, keys):
            if isinstance(batch, Failed):
                raise ObjectiveError(batch.said)
            yield moved(batch, self._device)

    def _loaded(self, keys: Iterable[Key]) -> Iterator[Any]:
        self._asked.keys = keys
        if self._made is None:
            fetcher = Fetcher(self._datasets)
            self._made = make_loader(fetcher, self._datasets, self._device, self._asked)
        try:
            before, self._begun = self._begun, begun(self._made)
            if self._begun is not before:
                end_with(self._made, self._begun)
            yield from self._begun
        except Exception as error:
            self._made = self._begun = None  # its workers are in no state to go on
            raise why(error) from error


def make_loader(
    dataset: Any,
    datasets: Datasets,
    device: str,
    sampler: Any = None,
    *,
    workers: int | None = None,
) -> Any:
    """A loader that hands on what `dataset` gives as it is."""
    import torch
    from torch.utils.data import DataLoader

    n = datasets.num_workers if workers is None else workers
    pinned = datasets.pin_memory
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=n,
        pin_memory=device.startswith("cuda") if pinned is None else pinned,
        persistent_workers=n > 0 and sampler is not None,
        worker_init_fn=_begin_worker if n else None,
        multiprocessing_context=start_method() if n else None,
        generator=torch.Generator(),  # or each iteration would draw from the run's
    )


def begun(loader: Any) -> Iterator[Any]:
    """Start a loader's workers; torch would warn of what is raised in the same moment."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got pickle error")
        return iter(loader)


def end_with(loader: Any, iterator: Any) -> None:
    """End its workers with torch's loader, and when this process ends, before torch kills them.

    The loader may be a part of a circle, as of a task that knows itself. Were its workers, too,
    the queues that tell them to end would be closed first, and torch would wait ten seconds for
    each; so they are held from here. At the end of a process they die by a signal otherwise, which
    torch takes for a crash and says at length. Processes that multiprocessing has started know no
    atexit, and others come to its finalizers too late.
    """
    weakref.finalize(loader, _end, iterator)
    util.Finalize(iterator, _end_referred, args=(weakref.ref(iterator),), exitpriority=10)


def _end_referred(iterator: weakref.ref[Any]) -> None:
    _end(iterator())


def _end(iterator: Any) -> None:
    end = getattr(iterator, "__del__", None)  # one without workers has none
    if end is not None:
        end()


def in_words(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches of a loader of the user's own, and what goes wrong as an ObjectiveError."""
    try:
        yield from loader
    except (ObjectiveError, Halted):
        raise
    except Exception as error:
        said = why(error)
        if said is error:
            raise ObjectiveError(f"a loader raises {short(error)}") from error
        raise said from error


def short(error: BaseException) -> str:
    """What went wrong, also in a worker, without where."""
    lines = words_of(error).splitlines()
    caught = lines[0].startswith(f"{type(error).__name__}: Caught ")
    return (lines[-1] if caught else lines[0])[:SHOWN]


def start_method() -> str | None:
    """How workers start; None: as is usual here.

    A process that was spawned, as a study's workers and ranks are, would spawn its own too: these
    could not import a task file that is known by its path.
    """
    return "fork" if sys.platform == "linux" else None


@contextmanager
def deaths_told() -> Iterator[None]:
    """A worker's death, which torch raises in the midst of whatever is done by then, in words."""
    try:
        yield
    except RuntimeError as error:
        said = why(error)
        if said is error:
            raise
        raise said from error


def why(error: Exception) -> Exception:
    """The error of a loader, in words where it is one of its workers'."""
    said = str(error)
    if isinstance(error, RuntimeError) and said.startswith(DIED):
        return ObjectiveError(
            f"a worker that loads data died ({said.splitlines()[0].strip(' .')}): look for a "
            "crash in the dataset, or for too little (shared) memory; num_workers=0 shows it here"
        )
    if "pickle" in f"{type(error).__name__} {said}".lower():
        return ObjectiveError(
            f"datasets cannot be sent to workers ({said.splitlines()[0][:120]}): define their "
            "classes and functions at the top of a file, or set num_workers=0"
        )
    return error


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(number: int) -> None:
    # Signals to all processes of a terminal or a cluster's job are for the one that trains to obey,
    # which may need data to the end of an epoch.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)
    signal.signal(signal.SIGALRM, _leave)


def _leave_later(signum: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, _leave)
    signal.alarm(LAST_SECONDS)


def _leave(signum: int, frame: Any) -> None:
    os._exit(0)
