"""Data-parallel training: every rank trains on its part of each batch, in lock-step.

All ranks run the same loop over the same shuffled batches. Their gradients are averaged before
each update, so that it is the one of the whole batch; see docs/techniques.md.
"""

from __future__ import annotations

import gc
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.randomness import seed_everything
from batchfront.objectives.loading.part import Part
from batchfront.objectives.measurement import Stopped, TrialParams, Verdict
from batchfront.objectives.ranks.processes import RankFailed, Ranks
from batchfront.objectives.ranks.shards import own_part
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

END = 0  # said instead of the number of an epoch, or of one of these
FOUND, NOT_FOUND = "found", "not found"


class Member:
    """One rank's view of the others."""

    def __init__(self, rank: int, recipe: Recipe) -> None:
        import torch

        self.rank = rank
        self.n_ranks = recipe.data_parallel
        # One for all steps: gloo's threads let go of theirs at any time, and peaks would vary.
        self._said = torch.zeros(3, dtype=torch.float64)
        self._shards = recipe.shards
        self.least = 1  # examples that a rank needs, if it has any

    def own(self, x: Any, y: Any) -> tuple[Any, Any, float]:
        """This rank's part of a batch, and by how much it counts."""
        if isinstance(x, Part):  # that was loaded as such
            return x.own, y, x.share
        part, share = self.part_of(len(x))
        return x[part], y[part], share

    def part_of(self, n: int) -> tuple[slice, float]:
        """This rank's examples of a batch of `n`, and by how much they count.

        A rank without any takes the first ones, of which nothing counts: the others wait for it.
        """
        part = own_part(
            n, rank=self.rank, n_ranks=self.n_ranks, shards=self._shards, least=self.least
        )
        return (slice(0, self.least, 1), 0.0) if part is None else (part, 1.0)

    def take_part(self, train: Callable[[], None], params: TrialParams, run: Run) -> None:
        """Train one run, beside the others."""
        raise NotImplementedError

    def begin_epoch(self) -> None:
        """Rank 0 goes first; the others wait for it."""
        raise NotImplementedError

    def end_epoch(self) -> None:
        """All have trained on all of its batches."""
        raise NotImplementedError

    def decided(self, look: Callable[[], bool]) -> bool:
        """What rank 0 has found by looking: on devices whose sums differ in the last bit all would
        not find the same."""
        raise NotImplementedError

    def share(self, buffers: Iterable[Tensor]) -> None:
        """Make all ranks' buffers those of rank 0, which are kept and judged.

        At the start of an epoch, where all ranks are: within one each goes on with its own.
        """
        import torch.distributed as dist

        for buffer in buffers:
            dist.broadcast(buffer, src=0)

    def sum_of(self, weight: Tensor) -> Tensor:
        """The sum of all ranks' weights of their parts of a batch, after its last pass."""
        import torch.distributed as dist

        weight = weight.clone()
        dist.all_reduce(weight)
        return weight

    def exchange(self, loss: Tensor | None, *, n: int = 0, stop: bool = False) -> Tensor:
        """The sum of all ranks' losses; every rank calls it at the same points of its loop.

        Args:
            loss: this rank's share, of a batch of `n` examples; None after the last one.
            n: the same on all ranks.
            stop: rank 0 has a verdict, and the others end their run here.

        Raises:
            RankFailed: the ranks are not at the same batch.
            Stopped: rank 0 says so.
        """
        import torch.distributed as dist

        said = self._said
        on_device = loss is not None and loss.is_cuda
        said[0], said[1] = float(stop), float(n)
        said[2] = 0.0 if loss is None or on_device else loss
        dist.all_reduce(said)
        if said[0]:
            raise _ended()
        if said[1] != n * self.n_ranks:
            raise RankFailed("the ranks disagree about the batch they are at")
        if loss is None or not on_device:
            return said[2].clone()
        loss = loss.clone()
        dist.all_reduce(loss)  # on the device: nobody waits for it
        return loss


class Leader(Member):
    """Rank 0, to which the run belongs."""

    def __init__(self, recipe: Recipe, ranks: Ranks) -> None:
        super().__init__(0, recipe)
        self.ranks = ranks
        self._run: Any = None  # while there is one
        self._in_epoch = False

    def take_part(self, train: Callable[[], None], params: TrialParams, run: Run) -> None:
        """Train; the other ranks follow.

        Raises:
            RankFailed, MemoryError: one of them could not go on.
        """
        self._run, self._in_epoch = run, False
        try:
            self.ranks.start()
            self.ranks.tell(_start_of(params, run))
            verdict = _verdict_of(train)
            self._dismiss()
        except BaseException as error:
            cause = self.ranks.cause_of(error)
            self.ranks.end()
            if cause is not None:
                raise cause from error
            raise
        finally:
            self._run = None
        gc.collect()  # a replica lies in a cycle, with all its gradients
        if verdict is not None:
            raise verdict

    def begin_epoch(self) -> None:
        """The others wait for this one."""
        self.ranks.tell(1 + len(self._run.curve))
        self._in_epoch = True

    def end_epoch(self) -> None:
        """End the epoch, and take the other ranks' memory peaks in too."""
        self.exchange(None)
        self._in_epoch = False
        self._hear_peaks()

    def decided(self, look: Callable[[], bool]) -> bool:
        """Look, and tell the others, who wait for it."""
        found = look()
        self.ranks.tell(FOUND if found else NOT_FOUND)
        return found

    def _dismiss(self) -> None:
        """Bring the others back to where they wait for another run."""
        if self._in_epoch:
            with suppress(Stopped):
                self.exchange(None, stop=True)
        else:
            self.ranks.tell(END)
        self._hear_peaks()

    def _hear_peaks(self) -> None:
        self._run.used_elsewhere(max(self.ranks.hear()))


@contextmanager
def ranks_on(objective: Any, cores: Sequence[int], *, stay: bool) -> Iterator[None]:
    """Other ranks of an objective, if it has any, run on these cores.

    They end with the block; unless they are to stay for another, which takes a while to start.
    """
    member = getattr(objective, "member", None)
    if not isinstance(member, Leader):
        yield
        return
    if member.ranks.cores != cores:
        member.ranks.end()
        member.ranks.cores = cores
    unharmed = False
    try:
        yield
        unharmed = True
    finally:
        if not (stay and unharmed):
            member.ranks.end()


class FollowingRank(Member):
    """Any other rank: it does what rank 0 does, and judges nothing."""

    def __init__(self, rank: int, recipe: Recipe, pipe: Connection) -> None:
        super().__init__(rank, recipe)
        self._pipe = pipe
        self._seed = 0
        self._meter: Callable[[], int] = int  # peak bytes of the run
        self._dismissed = False

    def take_part(self, train: Callable[[], None], params: TrialParams, run: Run) -> None:
        """Train, until rank 0 ends the run."""
        self._seed, self._dismissed = params.seed, False
        self._meter = lambda: run.so_far()[1]
        _verdict_of(train)
        if not self._dismissed and self._pipe.recv() != END:
            raise RankFailed("rank 0 trains on, and this one has nothing left to train on")
        self._tell_peak()
        self._meter = int
        gc.collect()

    def exchange(self, loss: Tensor | None, *, n: int = 0, stop: bool = False) -> Tensor:
        """The sum of all ranks' losses, as on every rank; notes when rank 0 has ended the run."""
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
            raise _ended()
        # Other random numbers (dropout) than on rank 0, of which no checkpoint has to know.
        digest = hashlib.sha256(f"{self._seed}/{self.rank}/{epoch}".encode()).digest()
        seed_everything(int.from_bytes(digest[:4], "big"))

    def end_epoch(self) -> None:
        """Rank 0 may have ended the run at the last step."""
        self.exchange(None)
        self._tell_peak()

    def decided(self, look: Callable[[], bool]) -> bool:
        """Hear it from rank 0, which may have ended the run instead."""
        said = self._pipe.recv()
        if said == END:
            self._dismissed = True
            raise _ended()
        return bool(said == FOUND)

    def _tell_peak(self) -> None:
        self._pipe.send(self._meter())


class FollowingRun(Run):
    """A run that rank 0 times, judges and keeps; here only memory is measured."""

    def step(self, loss: Any, n: int = 1) -> None:
        """Count it."""
        self._meter.step(n)

    def report(self, value: float | None = None, /, **named: float | None) -> None:
        """Rank 0 has validated."""

    def save_made(self, make: Callable[[], Any]) -> None:
        """Rank 0 has."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the others are told of a run."""

    params: TrialParams
    measure_memory: bool
    holds_batch_size: bool
    restored: bytes | None  # what the loop goes on from


def _start_of(params: TrialParams, run: Run) -> Start:
    import torch

    restored = None
    if run.restored is not None:
        torch.save(run.restored, file := io.BytesIO())
        restored = file.getvalue()
    return Start(
        params=params,
        measure_memory=run.measures_memory,
        holds_batch_size=run.holds_batch_size,
        restored=restored,
    )


def follow(objective: Any, pipe: Connection, *, device: str) -> None:
    """Take part in every run of rank 0, a `TaskObjective` of the same task, until it goes."""
    import torch

    while True:
        start: Start = pipe.recv()
        run = FollowingRun(
            device=device, metric=objective.metric, measure_memory=start.measure_memory
        )
        run.holds_batch_size = start.holds_batch_size
        if start.restored is not None:
            run.restored = torch.load(io.BytesIO(start.restored), weights_only=True)
        carry_out(objective, replace(start.params, device=device, diagnostics=()), run)


def _ended() -> Stopped:
    return Stopped(Verdict.COMPLETED, "rank 0 has ended the run")


def _verdict_of(train: Callable[[], None]) -> Stopped | None:
    """What stopped it; a new object, since a raised one holds the model in its frames."""
    try:
        train()
    except Stopped as stopped:
        return Stopped(stopped.verdict, stopped.reason)
    return None
