"""A task's own scheduler of the learning rate, from torch.optim.lr_scheduler: one step a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.raised import words_of
from batchfront.objectives.training.feed import Batches
from batchfront.objectives.training.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim.lr_scheduler import LRScheduler

    from batchfront.objectives.task import Task

LOOKED_AT = 20  # steps of the scheduler whose rates tell one from another


def check_scheduler(task: Task, recipe: Recipe, *, compiled: bool) -> None:
    """Raise ObjectiveError where something else sets the rate, or the steps are not known."""
    if task.scheduler is None:
        return
    plain = Recipe()
    for there, option in (
        (recipe.rate_schedule != plain.rate_schedule, "--rate-schedule"),
        (recipe.warmup_examples != plain.warmup_examples, "--warmup-examples"),
        (recipe.schedule == "noise-scale", "--schedule noise-scale, of no known number of steps,"),
        (compiled, "--compile"),
    ):
        if there:
            raise ObjectiveError(
                f"task {task.name!r} has a scheduler of its own, and {option} cannot go with it: "
                "leave one of them out"
            )


def own_scheduler(
    task: Task, optimizer: torch.optim.Optimizer, total_steps: int
) -> LRScheduler | None:
    """The task's scheduler of this optimizer; None where it has none.

    Raises:
        ObjectiveError: it raises, or is none that steps without being told a metric.
    """
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    if task.scheduler is None:
        return None
    try:
        made = task.scheduler(optimizer, total_steps)
    except Exception as error:
        raise ObjectiveError(
            f"task {task.name!r}: scheduler(optimizer, total_steps={total_steps}) raises "
            f"{words_of(error)}"
        ) from error
    if not isinstance(made, LRScheduler) or isinstance(made, ReduceLROnPlateau):
        raise ObjectiveError(
            f"task {task.name!r}: scheduler returned {type(made).__name__}, wanted one of "
            "torch.optim.lr_scheduler that is stepped without a metric"
        )
    return made


def stepped(batches: Batches, scheduler: LRScheduler) -> Iterator[tuple[Any, Any]]:
    """The batches; the scheduler steps after each of them was trained on."""
    for batch in batches:
        yield batch
        del batch
        scheduler.step()


def rates_of(task: Task, model: nn.Module) -> list[list[float]]:
    """The learning rate of each parameter group at a fixed short run's steps, from a rate of 1."""
    import warnings

    optimizer = task.optimizer(model.parameters(), lr=1.0)
    scheduler = own_scheduler(task, optimizer, LOOKED_AT)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer did not step
        for _ in range(LOOKED_AT):
            rates.append([float(group["lr"]) for group in optimizer.param_groups])
            if scheduler is not None:
                scheduler.step()
    return rates
