"""What a task's loss is, and what the best constant predictor reaches: what a run has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.constant import constant_loss, repeated
from batchfront.objectives.loss import Loss, as_loss, looked_at
from batchfront.objectives.training.batches import EXACT
from batchfront.objectives.training.checks import metrics_of
from batchfront.objectives.training.evaluation import evaluation_batch, has_classes
from batchfront.objectives.training.scores import Scorer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from batchfront.objectives.task import Data, Task


def loss_of(task: Task, model: nn.Module, data: Data, rule: str) -> Loss:
    """The task's loss, looked at; studies of older versions take every loss for a mean."""
    import torch

    if rule != EXACT:
        return as_loss(task.loss)
    with torch.inference_mode():
        output = model.eval()(data.x_train[:2])
    classes = has_classes(task, output, data.y_train[:2])
    return looked_at(task.loss, model, data.x_train, data.y_train, classes=classes)


def baseline(
    task: Task, model: nn.Module, data: Data, loss: Loss | None = None
) -> tuple[float, float | None]:
    """Loss of an example and metric of the best constant predictor, on the training split.

    The metric, of the shares or the mean, is None where it takes no outputs that are all alike.
    """
    loss, y, part = loss or as_loss(task.loss), data.y_train, evaluation_batch(data)
    constant = _constant(task, model, data, loss)

    parts = ((repeated(constant, some), some) for some in y.split(part))
    metric, *_ = metrics_of(task)
    scorer = Scorer(metric=metric, also=(), loss=loss, device="cpu")
    return constant_loss(loss, constant, y, part=part), scorer.of_constant(parts, len(y))


def _constant(task: Task, model: nn.Module, data: Data, loss: Loss) -> Tensor:
    """The output for one example, (1, C), (1, C, 1) or (1, ...): where a search for it begins.

    Classes: logits equal to the log of their shares (for cross-entropy their loss is the entropy
    of the shares, and no other is less). Values: their mean.
    """
    import torch

    y = data.y_train
    with torch.inference_mode():
        output = model.eval()(data.x_train[:2])
    if not has_classes(task, output, y[:2]):
        return y.double().mean(dim=0, keepdim=True).to(output.dtype)
    n_classes = output.shape[1]
    counted = y[loss.counted(y)]  # (N,) or (N T,), without what the loss ignores
    shares = torch.bincount(counted.flatten(), minlength=n_classes).float() / counted.numel()
    return shares.clamp(min=1e-9).log().view(1, -1, *[1] * (y.ndim - 1))
