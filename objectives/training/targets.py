"""Whether the targets of a classification are classes that the model knows."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from batchfront.objectives.loss import as_loss
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.training.evaluation import has_classes

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.task import Data, Task

SHOWN = 5  # of the values that are wrong


def check_targets(task: Task, model: nn.Module, data: Data) -> None:
    """Raise ObjectiveError for targets outside of 0..C-1 that the loss does not take."""
    import torch

    with torch.inference_mode():
        output = model.eval()(data.x_train[:2])
    if not has_classes(task, output, data.y_train[:2]):
        return
    n_classes = int(output.shape[1])
    for split in ("train", "val", "test"):
        values = torch.unique(getattr(data, f"y_{split}")).tolist()
        outside = (value for value in values if not 0 <= value < n_classes)
        unknown = (value for value in outside if not _is_taken(task, model, data, value))
        wrong = list(islice(unknown, SHOWN + 1))  # each takes a look
        if wrong:
            more = ", ..." if len(wrong) > SHOWN else ""
            raise ObjectiveError(
                f"task {task.name!r}: y_{split} holds {', '.join(map(str, wrong[:SHOWN]))}{more}, "
                f"and the model has classes 0 to {n_classes - 1}: number the classes from 0, or "
                "give the model more outputs"
            )


def _is_taken(task: Task, model: nn.Module, data: Data, value: int) -> bool:
    """Whether the loss has a use for such a target: to ignore it, say."""
    import torch

    y = torch.zeros_like(data.y_train[:2])
    y[0] = value
    try:
        with torch.inference_mode():
            as_loss(task.loss)(model.eval()(data.x_train[: len(y)]), y)
    except Exception:  # whatever a loss raises for an index that it does not know
        return False
    return True
