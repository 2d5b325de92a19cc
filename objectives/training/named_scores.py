"""Metrics of torchmetrics by a word, fitted to the outputs and targets that a task has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import ObjectiveError

if TYPE_CHECKING:
    from torch import Tensor

INSTALL = "pip install 'batchfront[metrics]'"
OF_CLASSES = {"val_f1": "F1Score", "val_auc": "AUROC", "val_map": "AveragePrecision"}
Pair = tuple["Tensor", "Tensor"]


class Named:
    """One of them, made when the first outputs show of what kind it is."""

    def __init__(self, name: str, device: str) -> None:
        self._name, self._device = name, device
        self._metric: Any = None
        self._adapt: Callable[[Tensor, Tensor], Pair] = _as_they_are

    def update(self, output: Tensor, y: Tensor) -> None:
        """Make it, if these are the first, and update it."""
        if self._metric is None:
            metric, self._adapt = _made(self._name, output, y)
            self._metric = metric.to(self._device)
        self._metric.update(*self._adapt(output, y))

    def compute(self) -> Tensor:
        """The metric of all of them."""
        found: Tensor = self._metric.compute()
        return found


def check_installed(name: str) -> None:
    """Raise ObjectiveError where torchmetrics, which `name` needs, is not there."""
    try:
        import torchmetrics  # noqa: F401
    except ImportError:
        raise ObjectiveError(f"metric {name} needs torchmetrics: {INSTALL}") from None


def _made(name: str, output: Tensor, y: Tensor) -> tuple[Any, Callable[[Tensor, Tensor], Pair]]:
    import torchmetrics

    if name == "val_mae":
        return torchmetrics.MeanAbsoluteError(), _as_they_are
    if name == "val_perplexity":
        from torchmetrics.text import Perplexity

        return Perplexity(), _classes_last
    import torchmetrics.classification as metrics

    kind = _kind(output, y)
    if name == "val_iou":
        return _intersection(kind, output), _adapter(kind, output)
    counts = {"Multiclass": {"num_classes": _n(output)}, "Multilabel": {"num_labels": _n(output)}}
    made = getattr(metrics, f"{kind}{OF_CLASSES[name]}")(**counts.get(kind, {}))
    return made, _adapter(kind, output)


def _intersection(kind: str, output: Tensor) -> Any:
    import torchmetrics.classification as metrics

    if kind == "Binary":
        return metrics.BinaryJaccardIndex()
    if kind == "Multilabel":
        return metrics.MultilabelJaccardIndex(num_labels=_n(output))
    return metrics.MulticlassJaccardIndex(num_classes=_n(output))


def _n(output: Tensor) -> int:
    return int(output.shape[1])


def _kind(output: Tensor, y: Tensor) -> str:
    """Whole targets without the outputs' classes are classes; targets like the outputs, labels."""
    if not y.is_floating_point() and output.ndim == y.ndim + 1:
        return "Binary" if output.shape[1] in (1, 2) else "Multiclass"
    if output.shape == y.shape:
        return "Multilabel" if output.ndim == 2 and output.shape[1] > 1 else "Binary"
    raise ObjectiveError(
        f"outputs of shape {tuple(output.shape)} and targets of shape {tuple(y.shape)}: wanted "
        "(B, classes) and (B,), or the same shape"
    )


def _adapter(kind: str, output: Tensor) -> Callable[[Tensor, Tensor], Pair]:
    if kind == "Binary" and output.ndim > 1 and output.shape[1] == 2:
        return _second_of_two
    if kind == "Multiclass":
        return _as_they_are
    return _whole


def _as_they_are(output: Tensor, y: Tensor) -> Pair:
    return output, y


def _whole(output: Tensor, y: Tensor) -> Pair:
    """One output a label, (B, 1) as well as (B,); the targets as whole numbers."""
    return output.reshape(y.shape), y.long()


def _second_of_two(output: Tensor, y: Tensor) -> Pair:
    """The probability of class 1, which is what binary metrics take."""
    return output.softmax(dim=1)[:, 1], y


def _classes_last(output: Tensor, y: Tensor) -> Pair:
    """(B, C, T) as (B, T, C), and (B, C) as a text of one token each."""
    return (output.movedim(1, -1), y) if output.ndim == 3 else (output[:, None], y[:, None])
