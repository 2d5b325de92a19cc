"""The batch size of every epoch: constant, doubling at fixed times, or following the noise scale.

Where a run is evaluated between epochs, what is said of epochs holds for the points of its curve.

A larger batch late in training stands in for a smaller learning rate (arXiv:1711.00489).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, groupby, islice
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.randomness import (
    random_states,
    restore_random_states,
    seed_everything,
)
from batchfront.objectives.gradients.noise_scale import measure_two_sizes, noise_scale
from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Phase
from batchfront.objectives.training.batches import EXACT, RAGGED, steps_of

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.gradients.draws import Gradients

MILESTONES = (0.5, 0.75, 0.875)
"""Shares of the run after which `doubling` doubles: as if the rate were halved there."""
MULTIPLE = 2.0
"""`noise-scale` doubles when the noise scale is clearly above so many batches: the doubled batch
is then still at most the noise scale, where examples begin to be wasted (arXiv:1812.06162)."""
MIN_STEPS = 8  # of an epoch that `noise-scale` leaves
N_DRAWS = 10  # for each look at the noise scale


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How the batch size grows in runs of a length, whose examples of an epoch are known."""

    schedule: str = "constant"  # of recipe.SCHEDULES
    length: Length
    rule: str = EXACT  # of batches.RULES
    of_epoch: Mapping[int, int] | None = None  # its steps by size, where loaders say how many

    def planned(self, first: int) -> list[int]:
        """The batch size up to every point, as far as it is known when a run starts."""
        times = MILESTONES if self.schedule == "doubling" else ()
        sizes = [first] * self.length.points
        for milestone in times:
            done = math.ceil(milestone * self.length.points)
            sizes[done:] = [self.doubled(size) for size in sizes[done:]]
        return sizes

    def doubled(self, size: int) -> int:
        """The next size, or the same where a run cannot grow any more."""
        least = MIN_STEPS if self.schedule == "noise-scale" else 1
        n_train = self.length.n_train or 0
        room = min(n_train // least, self.length.room or n_train)
        return 2 * size if 2 * size <= room else size

    def reachable(self, first: int) -> list[int]:
        """All sizes that a run which starts at `first` may come to, ascending."""
        if self.schedule != "noise-scale":
            return sorted(set(self.planned(first)))
        sizes = [first]
        while len(sizes) < self.length.points and self.doubled(sizes[-1]) > sizes[-1]:
            sizes.append(self.doubled(sizes[-1]))
        return sizes

    def steps(self, sizes: Sequence[int]) -> list[int]:
        """Optimizer steps up to every point from the one before."""
        known = self.of_epoch or {}
        if known and known.keys() >= {*sizes}:
            return [known[size] for size in sizes]
        return steps_of(sizes, self.length, rule=self.rule)

    def phases(self, sizes: Sequence[int]) -> tuple[Phase, ...]:
        """Epochs of one size each, or other points, from the size up to every one."""
        steps = iter(self.steps(sizes))
        return tuple(
            Phase(batch_size=size, epochs=n, steps=sum(islice(steps, n)))
            for size, n in ((size, len(list(some))) for size, some in groupby(sizes))
        )


class BatchSizes:
    """The batch sizes of one run, from point to point of its curve: as a rule, epoch by epoch."""

    def __init__(self, growth: Growth, first: int) -> None:
        self._growth = growth
        self._plan(growth.planned(first))

    def _plan(self, sizes: list[int]) -> None:
        """Note the size up to each point, its steps, and how far the run is before it."""
        growth = self._growth
        self._sizes, self._steps = sizes, growth.steps(sizes)
        pairs = zip(self._steps, map(growth.length.batch, sizes), strict=True)
        taken = [n * size for n, size in pairs]
        if growth.rule == RAGGED:  # whole epochs, whose last step is a smaller one
            taken = [growth.length.n_train or 0] * len(sizes)
        if growth.length.counts_steps:  # nobody knows how many examples there will be
            taken = [n * growth.length.batch(sizes[0]) for n in self._steps]
        self._seen = [0, *accumulate(taken)]

    @property
    def grow(self) -> bool:
        """Whether the sizes may differ."""
        return self._growth.schedule != "constant"

    @property
    def looks(self) -> bool:
        """Whether they follow the noise scale, for which gradients are drawn."""
        return self._growth.schedule == "noise-scale"

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of the whole run, as planned now."""
        return self._growth.phases(self._sizes)

    @property
    def largest(self) -> int:
        """The largest size that the run may come to."""
        return self._growth.reachable(self._sizes[0])[-1]

    def of(self, epoch: int) -> int:
        """The batch size of an epoch; the first is epoch 1."""
        return self._sizes[epoch - 1]

    def steps(self, epoch: int) -> int:
        """Its optimizer steps."""
        return self._steps[epoch - 1]

    def seen(self, epoch: int) -> int:
        """The examples before it; of equal steps, as if the batch had never grown."""
        return self._seen[epoch - 1]

    def look(
        self,
        epoch: int,
        gradients: Gradients,
        *,
        seed: int,
        device: str,
        decide: Callable[[Callable[[], bool]], bool] | None = None,
    ) -> None:
        """Double the size after this epoch, where the noise scale says so.

        `decide`: of several ranks one looks, and tells the others.
        """
        size = self.of(epoch)
        larger = self._growth.doubled(size)
        if not self.looks or epoch == len(self._sizes) or larger == size:
            return

        def noisy() -> bool:
            with _undisturbed(gradients.model, device):
                return is_noisy(gradients, size, seed=seed + (epoch << 32))

        if noisy() if decide is None else decide(noisy):
            self._plan(self._sizes[:epoch] + [larger] * (len(self._sizes) - epoch))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"sizes": list(self._sizes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._plan(list(state["sizes"]))


def is_noisy(gradients: Gradients, batch_size: int, *, seed: int) -> bool:
    """Whether the gradient noise scale is clearly above MULTIPLE batches.

    Compared without dividing, at the upper end of |G|^2: a gradient that drowns in its noise has
    a noise scale above anything, and none that could be shown.
    """
    import torch

    seed_everything(seed % 2**32)  # of dropout
    generator = torch.Generator().manual_seed(seed)
    draws = measure_two_sizes(
        gradients, n_draws=N_DRAWS, generator=generator, watch=lambda done: None
    )
    found = noise_scale(draws, method="two_sizes")
    return found.trace > MULTIPLE * batch_size * max(found.square_high, 0.0)


@contextmanager
def _undisturbed(model: nn.Module, device: str) -> Iterator[None]:
    """Random states and what forward passes change, as batch norm's means, are put back."""
    states = random_states(device)
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)
        restore_random_states(states, device)
