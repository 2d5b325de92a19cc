"""How batches of any shape are trained on and scored by a loop that knows pairs alone.

A batch that is no pair of tensors is both halves of its pair; the model that is trained takes it
and gives the loss, or output and target. So nothing else has to know of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loading.tree import Nested, Split, described, n_examples, plain
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.metric import LOSS, Metric

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.task import Task

Function = Callable[[Any, Any], Any]


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a task's batches are."""

    whole: bool  # else pairs of tensors
    step: Function | None = None
    forward: Function | None = None
    split: Split | None = None

    def pair(self, batch: Any, n: int | None = None) -> tuple[Any, Any]:
        """Inputs and targets as the loop has them, of a batch of `n` examples."""
        if not self.whole:
            x, y = batch
            return x, y
        x = Nested(batch, n_examples(batch) if n is None else n, self.split)
        return x, x

    def adapt(self, task: Task) -> Task:
        """The task as the loop trains it."""
        function = self.step or self.forward
        if not self.whole or function is None:
            return task
        loss = _as_it_is if self.step is not None else partial(_of_answer, task.loss)
        return replace(task, model=partial(_joined, task.model, function), loss=loss)

    @property
    def read(self) -> Function | None:
        """(output, batch) -> output and target for a metric; None where they are that."""
        return _answer if self.whole and self.step is None else None

    @property
    def apart(self) -> Function | None:
        """(model, batch) -> the same, where the trained output is only the loss."""
        return self.forward if self.step is not None else None

    def check_metrics(self, metrics: Sequence[Metric], *, task: str) -> None:
        """Raise ObjectiveError for one of outputs and targets, where nobody says what these are."""
        if self.step is None or self.forward is not None:
            return
        for metric in metrics:
            if not (is_loss(metric) or is_loop(metric)):
                raise ObjectiveError(
                    f"task {task!r}: {metric} is computed from outputs and targets, and step gives "
                    "a loss alone: give forward(model, batch) -> (output, target) beside it, "
                    'metric="loss", or Metric(name, evaluate)'
                )


def is_loss(metric: Metric) -> bool:
    """Whether it is the task's own loss."""
    return metric.name == LOSS.name and metric.function is None


def is_loop(metric: Metric) -> bool:
    """Whether its function is an `evaluate(model, loader)`."""
    if metric.function is None or hasattr(metric.function, "update"):
        return False
    try:
        names = list(inspect.signature(metric.function).parameters)
    except (TypeError, ValueError):
        return False
    return names[:1] == ["model"]


def form_of(task: Task, batch: Any) -> Form:
    """The form that a task gives to such a batch.

    Raises:
        ObjectiveError: it is no pair, and nobody says what to do with it.
    """
    import torch

    asked = task.step is not None or task.forward is not None
    if asked:
        return Form(whole=True, step=task.step, forward=task.forward, split=task.split)
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise ObjectiveError(
            f"task {task.name!r}: a batch is {described(batch)}, wanted a pair (input, target): "
            "give forward(model, batch) -> (output, target), or step(model, batch) -> loss"
        )
    tensors = all(isinstance(half, torch.Tensor) and half.ndim > 0 for half in batch)
    if tensors and task.split is None:
        return Form(whole=False)
    return Form(whole=True, forward=_of_pair, split=task.split)


def own_model(model: nn.Module) -> nn.Module:
    """The user's model in one that the loop trains."""
    inner: nn.Module = model.of_user if hasattr(model, "of_user") else model  # type: ignore[assignment]
    return inner


def _of_pair(model: Any, batch: Any) -> tuple[Any, Any]:
    return model(batch[0]), batch[1]


def _joined(make: Callable[[], nn.Module], function: Function) -> nn.Module:
    from batchfront.objectives.training.joined import Joined

    return Joined(make(), function)


def _as_it_is(output: Any, y: Any) -> Any:
    return tuple(output) if isinstance(output, list) else output


def _of_answer(loss: Callable[..., Any], output: Any, y: Any) -> Any:
    return loss(*output)


def _answer(output: Any, y: Any) -> Any:
    return output


def outputs_of(model: nn.Module, forward: Function, batch: Any) -> Any:
    """Output and target of a batch, by the user's `forward`."""
    return forward(own_model(model), plain(batch))
