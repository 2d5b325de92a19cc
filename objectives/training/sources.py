"""Where batches come from: tensors in memory, datasets, or loaders."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from batchfront.objectives.loading.examples import Examples, Tensors
from batchfront.objectives.task import Task, as_tensors, is_on_disk, no_data
from batchfront.objectives.training.baseline import baseline, loss_of
from batchfront.objectives.training.batches import Order, order_memory
from batchfront.objectives.training.checks import check_data
from batchfront.objectives.training.evaluation import evaluation_batch
from batchfront.objectives.training.feed import (
    Batches,
    LoaderFeed,
    ResidentFeed,
    kept_on,
    make_feed,
)
from batchfront.objectives.training.forms import Form
from batchfront.objectives.training.identity import data_hash
from batchfront.objectives.training.source import Cut, Source

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.loss import Loss
    from batchfront.objectives.training.recipe import Recipe
    from batchfront.objectives.training.source import Judged


class InMemory(Source):
    """Tensors; what training sees of them lies on the device where it fits."""

    form: Form = Form(whole=False)
    waits, draws, shapes_vary = False, True, False
    notes: tuple[str, ...] = ()

    def __init__(self, task: Task, *, name: str, device: str) -> None:
        given = task.data()
        self.look = data = as_tensors(given)
        check_data(data, task=name)
        self.n_train, self.part = len(data.x_train), evaluation_batch(data)
        self.drawn: Examples = Tensors(data.x_train, data.y_train)
        self.train: Examples | None = self.drawn
        self.val: Examples = Tensors(data.x_val, data.y_val)
        self.few = self.val
        self.test: Examples | None = Tensors(data.x_test, data.y_test)
        on_disk = is_on_disk(given)
        self._make_feed = partial(
            make_feed, data.x_train, data.y_train, device=device, on_disk=on_disk
        )
        self._device = device
        self._feed: ResidentFeed | LoaderFeed | None = None
        self._settle()  # before any meter looks
        self._order_memory = order_memory(self.n_train)

    def _settle(self) -> ResidentFeed | LoaderFeed:
        """Put on the device what fits: the training split, and then what is scored after epochs."""
        feed = self._feed = self._make_feed()
        if isinstance(feed, ResidentFeed):
            self.train = Tensors(*feed.examples)
            self.val = Tensors(*kept_on(self._device, self.look.x_val, self.look.y_val))
        return feed

    @property
    def feed(self) -> ResidentFeed | LoaderFeed:
        """What batches come from."""
        return self._settle() if self._feed is None else self._feed

    @property
    def makes_batches(self) -> bool:
        """Where the training split is not on the device."""
        return not isinstance(self.feed, ResidentFeed)

    def leave_device(self) -> None:
        """Whoever trains all the same moves the data there again."""
        self._feed, self.train, self.val = None, self.drawn, self.few

    def judged(self, given: Task, model: nn.Module) -> Judged:
        """All of it, as it is."""
        return given, model, self.look

    def loss(self, given: Task, task: Task, model: nn.Module, rule: str) -> Loss:
        """The task's own, looked at."""
        return loss_of(task, model, self.look, rule)

    def baseline(self, judged: Judged | None, loss: Loss) -> tuple[float | None, float | None]:
        """The loss and metric of the best constant over all training examples; None: not known."""
        return (None, None) if judged is None else baseline(*judged, loss)

    def order(self, seed: int, rule: str) -> Order:
        """Uses the memory of the run before."""
        return Order(self._order_memory, seed=seed, rule=rule)

    def epoch(self, order: Order, batch_size: int) -> Batches:
        """The batches of the order's next epoch."""
        return self.feed.epoch(order.epoch(batch_size), batch_size)

    def take(self, order: Order, batch_size: int, n_steps: int) -> Batches:
        """The batches of the order's next steps."""
        parts = order.take(batch_size, n_steps)
        return chain.from_iterable(self.feed.epoch(part, batch_size) for part in parts)

    def check_recipe(self, recipe: Recipe) -> None:
        """Tensors can follow all of them."""

    def share(self, cut: Cut) -> None:
        """Every rank holds the data, and cuts batches itself."""

    def fingerprint(self) -> str:
        """The hash of all tensors."""
        return data_hash(self.look)


def source_of(task: Task, *, name: str, device: str) -> Source:
    """The data of a task in the form that it has.

    Raises:
        ObjectiveError: the data is not usable.
    """
    if task.data is not no_data:
        return InMemory(task, name=name, device=device)
    if task.datasets is not None:
        from batchfront.objectives.training.from_datasets import FromDatasets

        return FromDatasets(task, name=name, device=device)
    from batchfront.objectives.training.from_loaders import FromLoaders

    return FromLoaders(task, name=name, device=device)
