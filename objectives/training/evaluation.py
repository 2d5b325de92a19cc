"""What a validation looks at: how many examples at a time, and whether targets are classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.metric import ACCURACY, R2, as_metric
from batchfront.objectives.task import Data, Task

if TYPE_CHECKING:
    from torch import Tensor

EVALUATED_TARGETS = 4096  # per forward pass of a validation,
EVALUATED_INPUTS = 1 << 21  # and numbers that go in: 8 MB


def has_classes(task: Task, output: Tensor, y: Tensor) -> bool:
    """Whether targets are classes of the outputs, (B, C) or (B, C, T), rather than values."""
    name = as_metric(task.metric).name
    if name in (ACCURACY.name, R2.name):
        return name == ACCURACY.name and not y.is_floating_point()  # else shares, as of mixup
    whole = not y.is_floating_point() and y.dtype.itemsize == 8
    return whole and output.ndim == y.ndim + 1 and output.shape[2:] == y.shape[1:]


def evaluation_batch(data: Data) -> int:
    """Examples per forward pass where nothing is learned: what they need must fit beside a run."""
    n_inputs, n_targets = (max(1, z[0].numel()) for z in (data.x_train, data.y_train))
    return max(1, min(EVALUATED_TARGETS // n_targets, EVALUATED_INPUTS // n_inputs))
