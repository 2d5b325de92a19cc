"""One of the runs that are trained together: its examples, its rates, its epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.randomness import (
    held_states,
    restore_random_states,
    seed_everything,
)
from batchfront.objectives.fused.noise import generator_at
from batchfront.objectives.fused.numbers import read_of
from batchfront.objectives.fused.places import Places, named_tensors, steps_in
from batchfront.objectives.fused.shape import Shape
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.meters.clock import SharedClock
from batchfront.objectives.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from batchfront.objectives.training.begun import Begun
    from batchfront.objectives.training.objective import TaskObjective


class Member:
    """A run that has begun; others take its steps, and it reports them.

    It leaves the global random numbers where it has come to with them.
    """

    def __init__(self, objective: TaskObjective, params: TrialParams, run: Run) -> None:
        self.params, self.run = params, run
        self._objective = objective
        self.clock = SharedClock()
        run.timed_by(self.clock)
        seed_everything(params.seed)
        order = objective.own_order(params.seed)
        self.begun: Begun = objective.begin(params, run, order)
        self._random = held_states(objective.device)
        self.generator = generator_at(self._random["torch"])
        """Draws in its steps what torch's global generator draws in those of a lone run."""
        self.optimizer = self.begun.states["optimizer"]
        self.optimizer._opt_called = True  # schedulers complain where nobody calls its step
        self.named = named_tensors(self.begun.model)
        self.steps = steps_in(self.optimizer)
        self.is_done = False
        self._epoch = self.begun.first
        self._batch_size = self.begun.sizes.of(self._epoch)
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        import torch

        begun, epoch = self.begun, self._epoch
        if begun.length.is_plain:
            order: Any = begun.order
            examples = order.epoch(self._batch_size)
        else:
            parts = begun.order.take(self._batch_size, begun.sizes.steps(epoch))  # type: ignore[attr-defined]
            examples = torch.cat([part.clone() for part in parts])
        size = min(self._batch_size, self._objective.n_train or self._batch_size)
        self._examples = batches = examples.view(-1, size)  # (n, B)
        # By their numbers: where rates stand still nobody asks for them.
        coming = ((batches[n], None) for n in range(len(batches)))
        self._driven: Iterator[Any] = iter(begun.driven(coming, epoch))
        self._at = 0

    @property
    def left(self) -> int:
        """Steps until its epoch ends."""
        return len(self._examples) - self._at

    @property
    def left_in_all(self) -> int:
        """Steps until it ends, about: epochs may differ by one."""
        epochs = self.begun.length.points - self._epoch
        return self.left + epochs * len(self._examples)

    def examples(self, n: int) -> Tensor:
        """The examples of its next `n` steps, (n, B) int64."""
        some: Tensor = self._examples[self._at : self._at + n]
        return some

    def read(self, n: int, shape: Shape) -> Tensor:
        """What its optimizer says at each of its next `n` steps; (n, G, R) float64."""
        import torch

        is_still = self.begun.rates is None and "scheduler" not in self.begun.states
        steps = range(1) if is_still else _first(self._driven, n)
        found = [read_of(shape, self.optimizer) for _ in steps]
        read: Tensor = torch.tensor(found, dtype=torch.float64).expand(n, -1, -1)
        return read

    def told(self, losses: Sequence[float]) -> None:
        """Report the losses of so many steps; raises Stopped as `Run.step` does."""
        self._at += len(losses)
        self.steps += len(losses)
        self.run.steps(losses)

    def end_epoch(self, place: int, places: Places) -> None:
        """Validate, report and keep what it has become; raises Stopped as `Run.report` does."""
        next(self._driven, None)  # a scheduler steps after the last batch, too
        run, objective = self.run, self._objective
        places.take(place, self.named)
        take_state = partial(places.take_state, place, self.named, self.optimizer, steps=self.steps)
        with self._own_randomness():
            objective.end_epoch(self.begun, self.params, run, self._epoch, before_saving=take_state)
            self._epoch += 1
            if self._epoch > self.begun.length.points:
                objective.diagnose(self.begun, self.params, run)
                self.is_done = True
                return
        self._begin_epoch()

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Random numbers go on inside from where this run left off, as they do in a lone one."""
        device = self._objective.device
        restore_random_states({**self._random, "torch": self.generator.get_state()}, device)
        try:
            yield
        finally:
            self._random = held_states(device)
            self.generator.set_state(self._random["torch"])


def _first(batches: Iterator[Any], n: int) -> Iterator[Any]:
    for _ in range(n):
        yield next(batches)
