"""A task looked at before it is used: settings, metrics, data, and two examples of them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.meters.early_stopping import ending_of
from batchfront.objectives.metric import ACCURACY, COMMON, R2, WORDS, Metric, as_metric
from batchfront.objectives.parameter import check_search, names_taken
from batchfront.objectives.task import Data, Task, no_data, no_loss

if TYPE_CHECKING:
    from torch import Tensor, nn

LOOKED_AT = 1 << 21  # numbers at a time, for those that are not finite


def check_task(task: Task) -> None:
    """Raise ObjectiveError for settings no run could use."""
    metrics_of(task)
    _check_forms(task)
    if not isinstance(task.epochs, int) or task.epochs < 1:
        raise ObjectiveError(f"task {task.name!r}: epochs is {task.epochs!r}, wanted at least 1")
    check_tokens(task.tokens_per_example, f"task {task.name!r}")
    ending_of(task).check()
    check_search(task.search, task=task.name)
    taken = names_taken(task.model, task.search) | names_taken(task.optimizer, task.search)
    for name in set(task.search) - taken:
        raise ObjectiveError(
            f"task {task.name!r}: nobody takes the searched parameter {name!r}: give model or "
            "optimizer an argument of that name"
        )


def check_tokens(per_example: int | None, whose: str) -> None:
    """Raise ObjectiveError for what is no number of tokens."""
    if per_example is not None and (type(per_example) is not int or per_example < 1):
        raise ObjectiveError(
            f"{whose}: tokens_per_example is {per_example!r}, wanted a whole number of at least 1"
        )


def _check_forms(task: Task) -> None:
    """Raise ObjectiveError for data or a loss in two forms, or in none."""
    given = [name for name in ("data", "datasets", "loaders") if _is_given(task, name)]
    if len(given) != 1:
        found = " and ".join(given) or "no data"
        raise ObjectiveError(
            f"task {task.name!r} has {found}: give one of data, datasets and loaders"
        )
    if (task.loss is no_loss) == (task.step is None):
        raise ObjectiveError(
            f"task {task.name!r} has {'no' if task.step is None else 'both'} loss and step: give "
            "loss(output, target) or step(model, batch)"
        )
    for name in ("forward", "step", "split"):
        if given == ["data"] and getattr(task, name) is not None:
            raise ObjectiveError(
                f"task {task.name!r} has {name} and its data in tensors, which are pairs for "
                "model(x) and loss(output, y): give datasets, or leave it out"
            )


def _is_given(task: Task, name: str) -> bool:
    return getattr(task, name) not in (None, no_data)


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """The metric of the task, and the others that are recorded.

    Raises:
        ObjectiveError: one that our loop cannot compute, or two of one name.
    """
    found = tuple(_known_to(task, one) for one in (task.metric, *task.also))
    names = [metric.name for metric in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ObjectiveError(f"task {task.name!r} has two metrics named {twice.pop()}")
    return found


def _known_to(task: Task, given: str | Metric) -> Metric:
    try:
        metric = as_metric(given)
        if metric.function is None and metric.name not in COMMON:
            raise ObjectiveError(
                f"metric is {given if isinstance(given, str) else metric.name!r}, which our loop "
                f"cannot compute: wanted {', '.join(WORDS)}, or Metric(name, function)"
            )
    except ObjectiveError as error:
        raise ObjectiveError(f"task {task.name!r}: {error}") from None
    return metric


def check_data(data: Data, *, task: str) -> None:
    """Raise ObjectiveError for unequal lengths, empty splits, NaN, or no tensors at all."""
    import torch

    if not isinstance(data, Data):
        raise ObjectiveError(f"task {task!r}: data() returned {type(data).__name__}, wanted Data")
    for one in fields(data):
        tensor = getattr(data, one.name)
        if not isinstance(tensor, torch.Tensor):
            raise ObjectiveError(
                f"task {task!r}: {one.name} is {type(tensor).__name__}, wanted a torch.Tensor"
            )
        n_bad = _n_not_finite(tensor)
        if n_bad:
            raise ObjectiveError(
                f"task {task!r}: {one.name} has {n_bad} NaN or infinite values: "
                "clean or impute them first"
            )
    for split in ("train", "val", "test"):
        x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
            raise ObjectiveError(
                f"task {task!r}: x_{split} has shape {tuple(x.shape)} and y_{split} "
                f"{tuple(y.shape)}: wanted the same number of examples, at least one"
            )


def _n_not_finite(tensor: Tensor) -> int:
    """How many numbers are NaN or infinite; in parts, since looking takes as much memory again."""
    import torch

    if not tensor.is_floating_point() or tensor.ndim == 0:
        return 0
    n_rows = max(1, LOOKED_AT // max(1, tensor[:1].numel()))
    return sum(int((~torch.isfinite(part)).sum()) for part in tensor.split(n_rows))


def check_forward(task: Task, model: nn.Module, data: Data) -> None:
    """Run two examples through model and loss, so that shape mistakes show before the search."""
    import torch

    n = min(2, len(data.x_train))
    x, y = data.x_train[:n], data.y_train[:n]
    model.eval()
    with torch.inference_mode():
        output = model(x)
        name = as_metric(task.metric).name
        if name == R2.name and output.shape != y.shape:
            raise ObjectiveError(
                f"task {task.name!r}: the model returns shape {tuple(output.shape)} for targets of "
                f"shape {tuple(y.shape)}: wanted the same shape"
            )
        if name == ACCURACY.name and (
            y.dtype != torch.int64
            or output.ndim != y.ndim + 1
            or (*output.shape[:1], *output.shape[2:]) != y.shape
        ):
            raise ObjectiveError(
                f"task {task.name!r}: accuracy wants outputs (B, classes) and int64 targets (B,), "
                "or outputs (B, classes, T) and targets (B, T), "
                f"found {tuple(output.shape)} and {y.dtype} {tuple(y.shape)}: give it another "
                f"metric, of {', '.join(WORDS)}, or one of its own"
            )
        loss = task.loss(output, y)
    given = loss if isinstance(loss, tuple) and len(loss) == 2 else (loss,)
    if not all(isinstance(one, torch.Tensor) and one.ndim == 0 for one in given):
        raise ObjectiveError(
            f"task {task.name!r}: loss must return a scalar tensor, or a sum and its weight, each "
            "a scalar tensor"
        )
