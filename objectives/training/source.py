"""The one seam between our loop and a task's data, in whatever form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from batchfront.objectives.loading.examples import Examples
from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.feed import Batches
from batchfront.objectives.training.forms import Form

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.loss import Loss
    from batchfront.objectives.training.recipe import Recipe

    Judged = tuple[Task, nn.Module, Data]

Cut = Callable[[int], tuple[slice, float]]
"""Examples of a batch -> those that a rank trains on, and by how much they count."""


class AnyOrder(Protocol):
    """The order in which a run takes its examples."""

    @property
    def rule(self) -> str:
        """How batches are cut."""

    @property
    def n_left(self) -> int:
        """Examples that the last epoch has left for the next."""

    def state(self) -> Any:
        """What a checkpoint keeps."""

    def go_on_from(self, state: Any) -> None:
        """Go on from what `state` gave."""


class Source(ABC):
    """The data of a task, made ready on one device."""

    form: Form
    look: Data
    """Examples as training has them, to look at before any run: all, or a few of them."""
    n_train: int
    part: int  # examples of one forward pass of a validation
    waits: bool  # whether batches have to be waited for
    starts_processes = False  # that load
    draws: bool  # whether examples can be drawn by their index
    shapes_vary: bool  # from batch to batch
    notes: tuple[str, ...]  # what a person should know before the search
    val: Examples
    few: Examples  # of the same, to try metrics on
    train: Examples | None  # to be scored beside the validation split; None: cannot be
    test: Examples | None
    drawn: Examples  # the training split, to draw from
    steps: Callable[[int], int] | None = None
    """Optimizer steps of an epoch at a batch size; None: as many as exact batches give."""

    @abstractmethod
    def check_recipe(self, recipe: Recipe) -> None:
        """Raise ObjectiveError for techniques that this form of data cannot follow."""

    @abstractmethod
    def judged(self, given: Task, model: nn.Module) -> Judged | None:
        """A task whose loss takes outputs and targets, and what gives them; None: nobody knows."""

    @abstractmethod
    def loss(self, given: Task, task: Task, model: nn.Module, rule: str) -> Loss:
        """The loss that is trained on, looked at; `task`: as the loop trains what was given."""

    @abstractmethod
    def baseline(self, judged: Judged | None, loss: Loss) -> tuple[float | None, float | None]:
        """Loss of an example and metric of the best constant predictor; None: not known."""

    @abstractmethod
    def order(self, seed: int, rule: str) -> AnyOrder:
        """The order of a run; one run at a time."""

    @abstractmethod
    def epoch(self, order: Any, batch_size: int) -> Batches:
        """The batches of its next epoch, on the device."""

    @abstractmethod
    def take(self, order: Any, batch_size: int, n_steps: int) -> Batches:
        """The batches of its next steps, through as many epochs as it takes."""

    @abstractmethod
    def share(self, cut: Cut) -> None:
        """Load from now on only a rank's part of each batch."""

    @property
    def makes_batches(self) -> bool:
        """Whether each is made anew; else it is a part of what lies there before any run."""
        return True

    def leave_device(self) -> None:
        """Let go of data that lies on an accelerator until it is needed again."""
        return

    @abstractmethod
    def fingerprint(self) -> str:
        """The hash of the data."""
