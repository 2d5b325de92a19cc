"""Data-parallel training: every rank trains on its part of each batch, in lock-step.

All ranks run the same loop over the same shuffled batches. Their gradients are averaged before
each update, so that it is the one of the whole batch; see docs/techniques-parallel.md.
"""

from __future__ import annotations

import gc
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from objectives.feed import Batches
from objectives.measurement import ObjectiveError, Stopped, TrialParams, Verdict
from objectives.randomness import seed_everything
from objectives.ranks import RankFailed, Ranks
from objectives.recipe import Recipe
from objectives.run import Run, carry_out
from objectives.shards import n_own, own_part
from objectives.technique_step import Stepper, gradient

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from objectives.task import Data, Task

END = 0  # said instead of the number of an epoch


@dataclass(frozen=True, kw_only=True)
class Start:
    """What rank 0 tells the others of a run."""

    params: TrialParams
    measure_memory: bool
    restored: bytes | None  # what the loop goes on from


class Member:
    """One rank's view of the others."""

    def __init__(self, rank: int, recipe: Recipe, device: str) -> None:
        self.rank = rank
        self.n_ranks = recipe.data_parallel
        self._shards = recipe.shards
        self._device = device

    def own(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
        """This rank's part of a batch, and its share of the examples.

        A rank without any takes the first one, of which nothing counts: the others wait for it.
        """
        share = n_own(len(x), rank=self.rank, n_ranks=self.n_ranks) / len(x)
        part = own_part(len(x), rank=self.rank, n_ranks=self.n_ranks, shards=self._shards)
        part = part if share else slice(1)
        return x[part], y[part], share

    def exchange(self, loss: Tensor | None, *, n: int = 0, stop: bool = False) -> Tensor:
        """The sum of all ranks' losses; every rank calls it at the same point of its loop.

        Args:
            loss: this rank's share, of a batch of `n` examples; None after the last one.
            n: the same on all ranks.
            stop: rank 0 has a verdict, and the others end their run here.

        Raises:
            RankFailed: the ranks are not at the same batch.
            Stopped: rank 0 says so.
        """
        import torch
        import torch.distributed as dist

        total = torch.zeros(()) if loss is None else loss.detach()
        said = torch.tensor([float(stop), float(n), 0.0], dtype=torch.float64)
        if not total.is_cuda:
            said[2] = total
        dist.all_reduce(said)
        if said[0]:
            raise Stopped(Verdict.COMPLETED, "rank 0 has ended the run")
        if said[1] != n * self.n_ranks:
            raise RankFailed("the ranks disagree about the batch they are at")
        if not total.is_cuda:
            return said[2].to(total.dtype)
        total = total.clone()
        dist.all_reduce(total)  # on the device: nobody waits for it
        return total


class Leader(Member):
    """Rank 0: the run is its own."""

    def __init__(self, ranks: Ranks, recipe: Recipe, device: str) -> None:
        super().__init__(0, recipe, device)
        self.ranks = ranks
        self._run: Run | None = None
        self._in_epoch = False

    @contextmanager
    def taking_part(self, params: TrialParams, run: Run) -> Iterator[None]:
        """The other ranks follow what happens inside.

        Raises:
            RankFailed, MemoryError: one of them could not go on.
        """
        self._in_epoch = False
        try:
            self.ranks.start()
            self._run = run
            self.ranks.tell(_start_of(params, run))
            try:
                yield
            finally:
                gc.collect()  # replicas lie in cycles, with all their gradients
        except Stopped:
            self._dismiss_or_end()
            raise
        except BaseException as error:
            cause = self.ranks.cause_of(error)
            self.ranks.end()
            if cause is not None:
                raise cause from error
            raise
        else:
            self._dismiss_or_end()
        finally:
            self._run = None

    def begin_epoch(self) -> None:
        """The others wait for this one."""
        self.ranks.tell(len(self._run.curve) + 1 if self._run is not None else END)
        self._in_epoch = True

    def end_epoch(self) -> None:
        """Their peaks count too."""
        self.exchange(None)
        self._in_epoch = False
        self._hear_peaks()

    def _dismiss_or_end(self) -> None:
        try:
            self._dismiss()
        except BaseException as error:
            cause = self.ranks.cause_of(error)
            self.ranks.end()
            raise cause or error from error

    def _dismiss(self) -> None:
        """Bring the others back to where they wait for another run."""
        if self._in_epoch:
            try:
                self.exchange(None, stop=True)
            except Stopped:
                pass
        else:
            self.ranks.tell(END)
        self._hear_peaks()

    def _hear_peaks(self) -> None:
        peaks = self.ranks.hear()
        if self._run is not None:
            self._run.used_elsewhere(max(peaks))


class Follower(Member):
    """Any other rank: it does what rank 0 does, and judges nothing."""

    def __init__(self, rank: int, recipe: Recipe, device: str, pipe: Connection) -> None:
        super().__init__(rank, recipe, device)
        self._pipe = pipe
        self._run: Run | None = None
        self._seed = 0
        self._dismissed = False

    @contextmanager
    def taking_part(self, params: TrialParams, run: Run) -> Iterator[None]:
        """Inside, rank 0 is followed; afterwards it has ended the run."""
        self._run, self._seed, self._dismissed = run, params.seed, False
        with suppress(Stopped):
            yield
        while not self._dismissed:
            with suppress(Stopped):
                self.begin_epoch()
        gc.collect()
        self._tell_peak()
        self._run = None

    def exchange(self, loss: Tensor | None, *, n: int = 0, stop: bool = False) -> Tensor:
        """As on every rank."""
        try:
            return super().exchange(loss, n=n, stop=stop)
        except Stopped:
            self._dismissed = True
            raise

    def begin_epoch(self) -> None:
        """Wait for rank 0, which validates and saves in between."""
        epoch = self._pipe.recv()
        if epoch == END:
            self._dismissed = True
            raise Stopped(Verdict.COMPLETED, "rank 0 has ended the run")
        # Other random numbers (dropout) than on rank 0; nothing to be kept in a checkpoint.
        digest = hashlib.sha256(f"{self._seed}/{self.rank}/{epoch}".encode()).digest()
        seed_everything(int.from_bytes(digest[:4]))

    def end_epoch(self) -> None:
        """Rank 0 may have stopped in the last step."""
        self.exchange(None)
        self._tell_peak()

    def _tell_peak(self) -> None:
        self._pipe.send(self._run.so_far()[1] if self._run is not None else 0)
