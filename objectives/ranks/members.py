"""Data-parallel training: every rank trains on its part of each batch, in lock-step.

All ranks run the same loop over the same shuffled batches. Their gradients are averaged before
each update, so that it is the one of the whole batch; see docs/techniques.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loading.part import Part
from batchfront.objectives.measurement import Stopped, TrialParams, Verdict
from batchfront.objectives.ranks.processes import RankFailed
from batchfront.objectives.ranks.shards import own_part
from batchfront.objectives.run import Run
from batchfront.objectives.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

END = 0  # said instead of the number of an epoch, or of FOUND or NOT_FOUND
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
            raise ended()
        if said[1] != n * self.n_ranks:
            raise RankFailed("the ranks disagree about the batch they are at")
        if loss is None or not on_device:
            return said[2].clone()
        loss = loss.clone()
        dist.all_reduce(loss)  # on the device: nobody waits for it
        return loss


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the others are told of a run."""

    params: TrialParams
    measure_memory: bool
    holds_batch_size: bool
    restored: bytes | None  # what the loop goes on from


def ended() -> Stopped:
    """What ends a run in a rank that follows."""
    return Stopped(Verdict.COMPLETED, "rank 0 has ended the run")


def verdict_of(train: Callable[[], None]) -> Stopped | None:
    """What stopped it; a new object, since a raised one holds the model in its frames."""
    try:
        train()
    except Stopped as stopped:
        return Stopped(stopped.verdict, stopped.reason)
    return None
