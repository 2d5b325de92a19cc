"""The learning rate and Adam's beta2 of every step, from the examples seen: nothing to be saved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.training.feed import Batches
from batchfront.objectives.training.recipe import Recipe

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class RateSchedule:
    """The factor of its learning rate at which a run takes a step; counted in examples, so that all
    batch sizes warm up and decay over the same data, or the same share of equal steps."""

    warmup_examples: int = 0
    cosine_examples: int | None = None  # of the whole run; None: constant after warm-up

    def factor(self, seen: int, size: int) -> float:
        """The factor for the step that takes the `size` examples after the first `seen`.

        Warm-up is linear from 0 and counts the step's own examples, or the first step would change
        nothing. Then the cosine falls from 1 to 0 (arXiv:1608.03983, without restarts).
        """
        if seen < self.warmup_examples:
            return min(1.0, (seen + size) / self.warmup_examples)
        if self.cosine_examples is None:
            return 1.0
        share = (seen - self.warmup_examples) / (self.cosine_examples - self.warmup_examples)
        return 0.5 * (1 + math.cos(math.pi * share))


def beta2_of(batch_size: int, half_life: float) -> float:
    """The beta2 that halves a gradient's weight in Adam's second moment in `half_life` examples.

    2^(-B / H), so that beta2(B) = beta2(B0)^(B / B0) (arXiv:2507.07101).
    """
    return float(2 ** (-batch_size / half_life))


def check_betas(optimizer: torch.optim.Optimizer, *, task: str) -> None:
    """Raise ObjectiveError for an optimizer without a second moment to hold."""
    if "betas" not in optimizer.defaults:
        raise ObjectiveError(
            f"task {task!r} trains with {type(optimizer).__name__}, which has no beta2: "
            "beta2_half_life is for Adam and its like, leave it out"
        )


class RateDriver:
    """Sets what a recipe makes of an optimizer's learning rates and beta2, batch by batch."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, recipe: Recipe, length: Length, *, batch_size: int
    ) -> None:
        """Note the rates as they are now; load a checkpoint later, as it holds its last step's.

        `batch_size`: that the run starts with.
        """
        self._optimizer = optimizer
        self._each = batch_size if length.counts_steps else None
        self._rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._half_life = recipe.beta2_half_life
        self._schedule = RateSchedule(
            warmup_examples=recipe.warmup_examples,
            cosine_examples=(
                length.examples_of(batch_size) if recipe.rate_schedule == "cosine" else None
            ),
        )

    def over(self, batches: Batches, *, seen: int, batch_size: int) -> Batches:
        """The batches after the first `seen` examples, each handed on with its rate in place.

        Of equal steps each counts as many examples as the first one took.
        """
        if self._half_life is not None:
            beta2 = beta2_of(batch_size, self._half_life)
            for group in self._optimizer.param_groups:
                group["betas"] = (group["betas"][0], beta2)
        return batches if self._schedule == RateSchedule() else self._stepwise(batches, seen)

    def _stepwise(self, batches: Batches, seen: int) -> Iterator[tuple[Any, Any]]:
        for x, y in batches:
            n = self._each or len(x)
            factor = self._schedule.factor(seen, n)
            # Not kept: loading a state puts new groups in place.
            for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
                set_rate(group, rate * factor)
            seen += n
            yield x, y
            del x, y


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Set the learning rate of one of an optimizer's `param_groups`, in place."""
    if isinstance(group["lr"], float | int):
        group["lr"] = rate
    else:  # a tensor, which captured graphs know by its address
        group["lr"].fill_(rate)


def rate_driver(
    optimizer: Any, recipe: Recipe, length: Length, *, batch_size: int
) -> RateDriver | None:
    """The driver of a run's learning rate; None where the recipe leaves the optimizer as is."""
    plain = recipe.rate_schedule == "constant" and recipe.warmup_examples == 0
    if plain and recipe.beta2_half_life is None:
        return None
    return RateDriver(optimizer, recipe, length, batch_size=batch_size)
