"""The processes that train one trial together: rank 0 is the worker, the others its children.

They meet in a file of a private folder and talk over the loopback interface: nothing listens
elsewhere, and workers of one machine never meet each other's ranks.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing import get_context, util
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from batchfront.objectives.device.hardware import is_out_of_memory
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.raised import words_of
from batchfront.objectives.training.recipe import Recipe

STEP_SECONDS = 120.0  # a rank that keeps the others waiting longer within a step hangs
WATCH_SECONDS = 0.5  # between two looks whether rank 0 is still there
LISTEN_SECONDS = 0.5  # after a last word: whether rank 0 is there to tidy up
LAST_WORD_SECONDS = 2.0  # for a rank that ends to say why


class RankFailed(RuntimeError):
    """Another rank could not go on."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """What a child needs to become a rank."""

    rank: int
    n_ranks: int
    task: str  # as `load_objective` takes it
    data_dir: Path
    device: str
    recipe: Recipe
    fingerprint: dict[str, str]  # of the objective, which every rank loads for itself
    folder: Path  # where the ranks meet
    core: int | None  # None: where the system puts it


@dataclass(frozen=True, kw_only=True)
class LastWord:
    """Why a rank has ended."""

    said: str
    out_of_memory: bool
    at: float  # time.monotonic(): when one ends the others cannot go on either


Follow = Callable[[Seat, Connection], None]


class Ranks:
    """Children, started at first use and kept for all runs of an objective."""

    def __init__(
        self,
        *,
        task: str,
        data_dir: Path,
        devices: Sequence[str],
        recipe: Recipe,
        fingerprint: dict[str, str],
        follow: Follow,
    ) -> None:
        self.cores: Sequence[int] = ()  # one for each child; none: where the system puts them
        self._task = task
        self._data_dir = data_dir
        self._devices = devices  # of all ranks
        self._recipe = recipe
        self._fingerprint = fingerprint
        self._follow = follow  # what a child does, by the name of a module's function
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        self._ending: util.Finalize | None = None

    def start(self) -> None:
        """Does nothing while all are alive.

        Raises:
            RankFailed, MemoryError: one cannot load the task.
        """
        import torch.distributed as dist

        if self._processes and all(process.is_alive() for process in self._processes):
            return
        self.end()
        if dist.is_initialized():
            raise ObjectiveError(
                "this process belongs to a torch.distributed group already, and data-parallel "
                "trials need one of their own: use one objective with ranks at a time"
            )
        folder = Path(tempfile.mkdtemp(prefix="batchfront-ranks-"))  # for its owner alone
        # Before the children are joined at exit, which would wait for ever.
        self._ending = util.Finalize(self, _end, args=(self._processes, folder), exitpriority=10)
        for rank in range(1, len(self._devices)):
            self._start(rank, folder)
        self.hear()
        self.tell("all are there")
        join(0, len(self._devices), device=self._devices[0], folder=folder)

    def _start(self, rank: int, folder: Path) -> None:
        context = get_context("spawn")
        seat = Seat(
            rank=rank,
            n_ranks=len(self._devices),
            task=self._task,
            data_dir=self._data_dir,
            device=self._devices[rank],
            recipe=self._recipe,
            fingerprint=self._fingerprint,
            folder=folder,
            core=self.cores[rank - 1] if self.cores else None,
        )
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_rank, args=(seat, theirs, self._follow), name=f"rank-{rank}"
        )
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._processes.append(process)
        self._pipes.append(ours)

    @property
    def pids(self) -> list[int]:
        """The process ids of the children."""
        return [process.pid for process in self._processes if process.pid is not None]

    def tell(self, message: Any) -> None:
        """Send the same message to all other ranks."""
        for rank, pipe in enumerate(self._pipes, 1):
            try:
                pipe.send(message)
            except OSError:
                raise self._died(rank) from None

    def hear(self) -> list[Any]:
        """One message from each.

        Raises:
            RankFailed, MemoryError: one has ended instead.
        """
        heard = [self._hear(rank) for rank in range(1, len(self._devices))]
        for rank, message in enumerate(heard, 1):
            if isinstance(message, LastWord):
                raise _as_error(rank, message)
        return heard

    def _hear(self, rank: int) -> Any:
        pipe, process = self._pipes[rank - 1], self._processes[rank - 1]
        wait([pipe, process.sentinel])
        try:
            return pipe.recv()
        except (EOFError, OSError):
            raise self._died(rank) from None

    def cause_of(self, error: BaseException) -> Exception | None:
        """What ended another rank, where that is why this one could not go on."""
        if not isinstance(error, RuntimeError) or is_out_of_memory(error):
            return None
        wait([*self._pipes, *(p.sentinel for p in self._processes)], timeout=LAST_WORD_SECONDS)
        words: list[tuple[float, Exception]] = []
        for rank, pipe in enumerate(self._pipes, 1):
            with suppress(EOFError, OSError):
                while pipe.poll():
                    message = pipe.recv()
                    if isinstance(message, LastWord):
                        words.append((message.at, _as_error(rank, message)))
            self._processes[rank - 1].join(timeout=0.1)
            if (self._processes[rank - 1].exitcode or 0) < 0:
                return self._died(rank)
        return min(words, key=lambda word: word[0])[1] if words else None

    def _died(self, rank: int) -> RankFailed:
        process = self._processes[rank - 1]
        process.join(timeout=LAST_WORD_SECONDS)
        code = process.exitcode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        return RankFailed(f"rank {rank} died ({how})")

    def end(self) -> None:
        """Kill the children; `start` makes new ones."""
        if self._ending is not None:
            self._ending()
        for pipe in self._pipes:
            pipe.close()
        self._processes, self._pipes, self._ending = [], [], None


def _end(processes: list[BaseProcess], folder: Path) -> None:
    import torch.distributed as dist

    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    if dist.is_initialized():
        _leave_group()
    shutil.rmtree(folder, ignore_errors=True)


def _leave_group() -> None:
    """End this process's part in the group, whose other ranks are dead.

    With NCCL the public call waits for kernels that wait for them. torch has no public one that
    does not: `_abort_process_group` is the only private call here.
    """
    import torch.distributed as dist
    from torch.distributed import distributed_c10d

    if "nccl" in str(dist.get_backend_config()):
        distributed_c10d._abort_process_group()
    else:
        dist.destroy_process_group()


def _as_error(rank: int, word: LastWord) -> Exception:
    kind = MemoryError if word.out_of_memory else RankFailed
    return kind(f"rank {rank}: {word.said}")


def join(rank: int, n_ranks: int, *, device: str, folder: Path) -> None:
    """Make this process a member of the group; returns when all are."""
    import torch.distributed as dist
    from torch.distributed import FileStore  # type: ignore[attr-defined]  # torch's annotation

    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback
    cuda = device.startswith("cuda")
    if cuda:
        import torch

        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",  # what ranks tell each other stays on the CPU
        store=FileStore(str(folder / "ranks"), n_ranks),
        rank=rank,
        world_size=n_ranks,
        timeout=timedelta(seconds=STEP_SECONDS),
    )


def _rank(seat: Seat, pipe: Connection, follow: Follow) -> None:
    """A child process, from its start to its end."""
    # Signals to all processes of a terminal or a cluster's job are for rank 0 to obey.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    watch = partial(_end_with_rank_0, os.getppid(), seat.folder)
    threading.Thread(target=watch, daemon=True).start()
    if seat.core is not None:
        os.sched_setaffinity(0, {seat.core})
    try:
        try:
            follow(seat, pipe)
        except (EOFError, ConnectionError):
            raise
        except BaseException as error:  # user code may raise anything: rank 0 hears of it
            said, out_of_memory = words_of(error), is_out_of_memory(error)
            pipe.send(LastWord(said=said, out_of_memory=out_of_memory, at=time.monotonic()))
            if pipe.poll(LISTEN_SECONDS):  # one that dies closes its connections one by one
                pipe.recv()
    except (EOFError, ConnectionError):  # rank 0 has gone, perhaps without tidying up
        shutil.rmtree(seat.folder, ignore_errors=True)
    os._exit(0)  # at once: what closes its connections tells the other ranks


def _end_with_rank_0(parent: int, folder: Path) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
