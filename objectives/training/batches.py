"""Which examples each optimizer step takes: exactly as many as the batch size says.

A step of what an epoch leaves over would be one of another batch size at the same learning rate:
with two examples of 1026 left, it can undo what the epoch has learned. So what is left over opens
the next epoch's order, and the last rest of a run is not stepped on. Versions up to 0.7 took
smaller steps; what they began goes on by that rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import ObjectiveError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BATCHES = "batches"  # in a fingerprint: the rule; none is RAGGED
EXACT = "exact"
RAGGED = "ragged"  # an epoch ends with a step of what is left over
RULES = (EXACT, RAGGED)


def rule_in(fingerprint: Mapping[str, Any]) -> str:
    """The rule in an objective's fingerprint or a study's record."""
    return str(fingerprint.get(BATCHES, RAGGED))


def check_rule(rule: str) -> None:
    """Raise ObjectiveError for a rule that this version does not know."""
    if rule not in RULES:
        raise ObjectiveError(f"batches are {rule!r}, wanted {' or '.join(RULES)}")


def steps_of(batch_sizes: Sequence[int], length: Length, *, rule: str = EXACT) -> list[int]:
    """Optimizer steps up to each point of a run's curve, from the batch size up to each.

    The older rule knows epochs alone.
    """
    if rule == RAGGED:
        return [-(-(length.n_train or 0) // size) for size in batch_sizes]
    return length.steps(batch_sizes)


def sizes_of_steps(batch_size: int, n_train: int, *, rule: str = EXACT) -> set[int]:
    """How many examples there may be in a step."""
    if rule == EXACT or batch_size >= n_train:
        return {min(batch_size, n_train)}
    return {batch_size, n_train % batch_size or batch_size}


def order_memory(n_train: int) -> Tensor:
    """Room for an `Order`, made before any run's memory is measured; (2 N,) int64."""
    import torch

    return torch.empty(2 * n_train, dtype=torch.int64)


class Order:
    """The examples of one run, in the order in which its steps take them."""

    def __init__(self, memory: Tensor, *, seed: int, rule: str = EXACT) -> None:
        """`memory`: of `order_memory`; no other run may use it at the same time."""
        import torch

        self.rule = rule
        self._generator: torch.Generator = torch.Generator().manual_seed(seed)
        self._memory = memory  # what was left over, then the newest shuffle
        self._n_train = len(memory) // 2
        self._used = 0  # of it, by steps
        self.n_left = 0  # and not yet

    def epoch(self, batch_size: int) -> Tensor:
        """Shuffle for another epoch; the examples of its steps, one batch after the other.

        They are (n,) int64, and lie in the order's memory until the next call.
        """
        self._shuffle()
        if self.rule == RAGGED:
            return self._next(self.n_left)
        return self._next(self.n_left // self._batch(batch_size) * self._batch(batch_size))

    def take(self, batch_size: int, n_steps: int) -> Iterator[Tensor]:
        """The examples of so many steps, those of one epoch at a time; else as `epoch`.

        Another epoch is shuffled for once this one has too few left for a batch.
        """
        size = self._batch(batch_size)
        while n_steps > 0:
            if self.rule == RAGGED:
                yield self.epoch(batch_size)
                return
            if self.n_left < size:
                self._shuffle()
            n = min(n_steps, self.n_left // size)
            yield self._next(n * size)
            n_steps -= n

    def _batch(self, batch_size: int) -> int:
        return min(batch_size, self._n_train)  # there are no more examples than that

    def _shuffle(self) -> None:
        import torch

        rest = self._memory[self._used : self._used + self.n_left]
        if self._used < self.n_left:  # a larger batch than before has not got enough: they overlap
            rest = rest.clone()
        self._memory[: self.n_left] = rest
        n = self.n_left + self._n_train
        torch.randperm(self._n_train, generator=self._generator, out=self._memory[self.n_left : n])
        self._used, self.n_left = 0, n

    def _next(self, n: int) -> Tensor:
        start, self._used = self._used, self._used + n
        self.n_left -= n
        return self._memory[start : self._used]

    def state(self) -> Any:
        """What a checkpoint keeps; of the older rule what older versions kept."""
        if self.rule == RAGGED:
            return self._generator.get_state()
        left = self._memory[self._used : self._used + self.n_left]
        return {"generator": self._generator.get_state(), "left": left.clone()}

    def go_on_from(self, state: Any) -> None:
        """Go on from what `state` gave, by the rule it was kept under."""
        self.rule = EXACT if isinstance(state, Mapping) else RAGGED
        generator, left = (
            (state["generator"], state["left"]) if self.rule == EXACT else (state, self._memory[:0])
        )
        self._generator.set_state(generator)
        self._used, self.n_left = 0, len(left)
        self._memory[: len(left)] = left
