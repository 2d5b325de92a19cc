"""What one run of our loop trains with, from its first step to its last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.training.own_schedule import stepped

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.length import Length
    from batchfront.objectives.task import Task
    from batchfront.objectives.training.feed import Batches
    from batchfront.objectives.training.learning_rate import RateDriver
    from batchfront.objectives.training.recipe import Recipe
    from batchfront.objectives.training.schedules import BatchSizes
    from batchfront.objectives.training.source import AnyOrder


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run that has begun."""

    task: Task
    recipe: Recipe
    model: nn.Module
    order: AnyOrder
    length: Length
    sizes: BatchSizes
    train_epoch: Callable[[Batches], None]
    states: dict[str, Any]  # all that has a state_dict, by the names under which it is kept
    rates: RateDriver | None
    first: int  # the epoch, or other point of the curve, with which it goes on

    def driven(self, batches: Batches, epoch: int) -> Batches:
        """The batches, each handed on with its learning rate in place."""
        sizes = self.sizes
        if self.rates is not None:
            batches = self.rates.over(batches, seen=sizes.seen(epoch), batch_size=sizes.of(epoch))
        scheduler = self.states.get("scheduler")
        return batches if scheduler is None else stepped(batches, scheduler)
