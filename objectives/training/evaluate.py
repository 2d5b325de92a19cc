"""How good a model is on a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from batchfront.objectives.loss import Loss
from batchfront.objectives.training.precision import autocast_to

if TYPE_CHECKING:
    from torch import Tensor, nn


def evaluate(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    metric: str,
    part: int,
    precision: str,
    device: str,
    counted: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Accuracy as a fraction, or R2 around the split's own mean; in the run's precision.

    `part`: examples of one forward pass. `counted`: at which targets accuracy looks; None: at all.
    """
    import torch

    model.eval()
    with torch.inference_mode(), autocast_to(precision, device):
        outputs = (model(some.to(device)) for some in x.split(part))
        if metric == "accuracy":
            return _accuracy(zip(outputs, y.to(device).split(part), strict=True), counted)
        output, y = torch.cat(list(outputs)), y.to(device)
        residual = (y.double() - output.double()).square().sum()
        total = (y.double() - y.double().mean(dim=0)).square().sum()
        return float(1 - residual / total)


def mean_loss(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    *,
    part: int,
    precision: str,
    device: str,
) -> float:
    """The loss on a split, over its examples; `part` of them at a time."""
    import torch

    model.eval()
    with torch.inference_mode(), autocast_to(precision, device):
        parts = zip(x.split(part), y.split(part), strict=True)
        outputs = ((model(some.to(device)), targets.to(device)) for some, targets in parts)
        return float(loss.mean(outputs, n=len(x)))


def _accuracy(
    parts: Iterable[tuple[Tensor, Tensor]], counted: Callable[[Tensor], Tensor] | None
) -> float:
    """Share of the targets whose class has the largest output; NaN where one is not finite.

    Part by part, as all outputs of a text would need more memory than its training.
    """
    import torch

    finite, correct = zip(  # stay on the device: one synchronisation in the end
        *((output.isfinite().all(), _correct(output, y, counted)) for output, y in parts),
        strict=True,
    )  # output: (B, C) or (B, C, T), y: (B,) or (B, T)
    if not torch.stack(finite).all():
        return math.nan  # argmax of NaN would name a class
    return float(torch.cat(correct).double().mean())


def _correct(output: Tensor, y: Tensor, counted: Callable[[Tensor], Tensor] | None) -> Tensor:
    right = output.argmax(dim=1) == y
    return right if counted is None else right[counted(y)]
