"""The training step of a rank: its part of the batch, and a gradient that all ranks share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from batchfront.objectives.gradients.parts import n_parts
from batchfront.objectives.ranks.members import Member
from batchfront.objectives.training.feed import Batches
from batchfront.objectives.training.step import Stepper, gradient, least_of

if TYPE_CHECKING:
    from torch import Tensor, nn


class LockStep(Stepper):
    """A rank's `Stepper`, which takes each step together with those of the run's other ranks."""

    def __init__(
        self, model: nn.Module, *args: Any, member: Member, some_unused: bool, **options: Any
    ) -> None:
        from torch.nn.parallel import DistributedDataParallel

        super().__init__(model, *args, **options)
        self._member = member
        member.least = least_of(model)
        self._replica = DistributedDataParallel(
            model,
            gradient_as_bucket_view=True,  # else every gradient is there twice
            find_unused_parameters=some_unused,
        )
        # Else the others' next forward pass would wait for one of rank 0, which may have a verdict
        # and be waiting for them where losses are exchanged. Not said above, where torch changes
        # the argument's name.
        self._replica.broadcast_buffers = False

    def epoch(self, batches: Batches) -> None:
        """Train on every batch once, each rank on its part."""
        self._member.begin_epoch()
        self._member.share(self._replica.buffers())
        super().epoch(batches)
        self._member.end_epoch()

    def _gradient(self, x: Any, y: Any) -> Tensor:
        """Compute the gradient of the whole batch's loss; returns that loss."""
        import torch

        n, world = len(x), self._member.n_ranks
        x, y, counts = self._member.own(x, y)
        passes: Any = _Passes(self._replica, n_parts(len(x), self._recipe.micro_batch_size(len(x))))
        own: list[Tensor] = []  # terms of the batch's loss
        loss = torch.zeros((), device=self._device)

        def scale(term: Tensor) -> Tensor:
            nonlocal loss
            own.append(term.detach() * counts)
            if len(own) == passes.n:  # before a backward pass that waits for the others
                loss = self._member.exchange(sum(own[1:], own[0]), n=n)
            # The replica averages over ranks, and terms are to be added.
            term = term * (counts * world)
            return term if self._scaler is None else self._scaler.scale(term)

        def total(weight: Tensor) -> Tensor:
            nonlocal loss
            weight = self._member.sum_of(weight * counts)
            loss = loss / weight
            return weight

        gradient(
            passes,
            self._loss_of,
            x,
            y,
            recipe=self._recipe,
            device=self._device,
            n=n,
            scale=scale,
            total=total,
        )
        return loss


class _Passes:
    """A replica whose gradients are shared in the last of `n` passes only."""

    def __init__(self, replica: Any, n: int) -> None:
        self.n = n
        self._replica = replica
        self._done = 0

    def parameters(self) -> Iterator[nn.Parameter]:
        parameters: Iterator[nn.Parameter] = self._replica.parameters()
        return parameters

    def __call__(self, x: Any) -> Any:
        self._done += 1
        if self._done == self.n:
            return self._replica(x)
        with self._replica.no_sync():
            return self._replica(x)
