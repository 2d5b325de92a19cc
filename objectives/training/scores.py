"""What a model is worth on a split: any metrics, from one pass over it, part by part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from batchfront.objectives.loading.tree import joined, tensors
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.metric import ACCURACY, R2, Metric
from batchfront.objectives.training.forms import (
    Function,
    is_loop,
    is_loss,
    outputs_of,
    own_model,
)
from batchfront.objectives.training.named_scores import Named, check_installed
from batchfront.objectives.training.precision import autocast_to, in_float32

if TYPE_CHECKING:
    from torch import Tensor, nn

    from batchfront.objectives.loading.examples import Examples
    from batchfront.objectives.loss import Loss

    Parts = Iterable[tuple[Tensor, Tensor]]

SHOWN = 200  # letters of what a metric raised


class Score(Protocol):
    """One metric over one split."""

    def add(self, output: Tensor, y: Tensor) -> None:
        """Take the outputs and targets of some examples."""

    def value(self) -> float:
        """The metric of all that was added."""


class Accuracy:
    """Share of the targets whose class has the largest output; NaN where one is not finite.

    Part by part, as all outputs of a text would need more memory than its training.
    """

    def __init__(self, counted: Callable[[Tensor], Tensor] | None) -> None:
        """`counted`: at which targets it looks; None: at all."""
        self._counted = counted
        self._finite: list[Tensor] = []  # stay on the device: one synchronisation in the end
        self._right: list[Tensor] = []

    def add(self, output: Tensor, y: Tensor) -> None:
        """Output: (B, C) or (B, C, T), y: (B,) or (B, T)."""
        right = output.argmax(dim=1) == y
        self._finite.append(output.isfinite().all())
        self._right.append(right if self._counted is None else right[self._counted(y)])

    def value(self) -> float:
        """A fraction."""
        import torch

        if not torch.stack(self._finite).all():
            return math.nan  # argmax of NaN would name a class
        return float(torch.cat(self._right).double().mean())


class Gathered:
    """A function of all outputs and all targets."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        self._function = function
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def add(self, output: Tensor, y: Tensor) -> None:
        """Keep both until the end."""
        self._outputs.append(output)
        self._targets.append(y)

    def value(self) -> float:
        """What the function returns of them; NaN where an output is not finite."""
        try:
            output, targets = joined(self._outputs), joined(self._targets)
        except (ValueError, RuntimeError, KeyError) as error:
            raise ObjectiveError(
                "outputs or targets differ in shape from batch to batch: give evaluate(model, "
                f"loader) ({str(error).splitlines()[0]})"
            ) from None
        if not all(leaf.isfinite().all() for leaf in tensors(output)):
            return math.nan
        return float(self._function(output, targets))


def r2(output: Tensor, y: Tensor) -> float:
    """1 less the squared error's share of the variance around the split's own mean."""
    residual = (y.double() - output.double()).square().sum()
    total = (y.double() - y.double().mean(dim=0)).square().sum()
    return float(1 - residual / total)


class MeanLoss:
    """The task's own loss over a split's examples."""

    def __init__(self, loss: Loss, n: int) -> None:
        self._loss, self._n = loss, n
        self._parts: list[tuple[Tensor, Tensor | None]] = []

    def add(self, output: Tensor, y: Tensor) -> None:
        """Weigh it by its examples, or as the loss says."""
        self._parts.append(self._loss.part(output, y, n=self._n))

    def value(self) -> float:
        """The loss of an example."""
        return float(self._loss.joined(self._parts, n=self._n))


class Updated:
    """A metric of torchmetrics, or one that is updated and computed as they are."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._finite = True

    def add(self, output: Tensor, y: Tensor) -> None:
        """Update it, while outputs are finite."""
        found = tensors(output) if not hasattr(output, "isfinite") else [output]
        self._finite = self._finite and all(bool(leaf.isfinite().all()) for leaf in found)
        if self._finite:
            self._metric.update(output, y)

    def value(self) -> float:
        """What it computes; NaN where an output is not finite."""
        return float(self._metric.compute()) if self._finite else math.nan


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """The metrics of a task."""

    metric: Metric
    also: tuple[Metric, ...]
    loss: Loss
    device: str
    read: Function | None = None  # see `Form`
    apart: Function | None = None

    def of(
        self, model: nn.Module, examples: Examples, *, part: int, precision: str
    ) -> dict[str, float]:
        """Every metric by name, in the run's precision; `part`: examples of one forward pass.

        Raises:
            ObjectiveError: a metric raised, or gave no number.
        """
        import torch

        def parts() -> Parts:
            for x, y in examples.parts(part):
                yield model(x.to(self.device)), y.to(self.device)

        def told(forward: Function) -> Parts:
            for x, _ in examples.parts(part):
                yield outputs_of(model, forward, x.to(self.device))

        ours = [metric for metric in self.all if not is_loop(metric)]
        here = ours if self.apart is None else [m for m in ours if is_loss(m)]
        model.eval()
        with torch.inference_mode(), autocast_to(precision, self.device):
            found = self._scored(parts(), len(examples), here)
            if self.apart is not None:
                others = [metric for metric in ours if metric not in here]
                found |= self._scored(told(self.apart), len(examples), others)
            for metric in filter(is_loop, self.all):
                found |= self._by_loop(metric, model, examples, part)
        return found

    def of_constant(self, parts: Parts, n: int) -> float | None:
        """The metric of outputs that are alike for all examples; None where it takes none."""
        if self.metric.chance is not None or is_loop(self.metric):
            return self.metric.chance
        try:
            value = self._scored(parts, n, [self.metric])[self.metric.name]
        except ObjectiveError:  # not of outputs without any difference
            return None
        return value if math.isfinite(value) else None

    @property
    def all(self) -> tuple[Metric, ...]:
        """All of them, the study's own first."""
        return (self.metric, *self.also)

    def _scored(self, parts: Parts, n: int, metrics: Sequence[Metric]) -> dict[str, float]:
        scores = {metric.name: self._score(metric, n) for metric in metrics}
        if not scores:
            return {}
        for output, y in parts:
            given = in_float32(output), y
            read = given if self.read is None else self.read(*given)
            for name, score in scores.items():
                _raised(name, score.add, *(given if isinstance(score, MeanLoss) else read))
        return {name: _raised(name, score.value) for name, score in scores.items()}

    def _score(self, metric: Metric, n: int) -> Score:
        if is_loss(metric):
            return MeanLoss(self.loss, n)
        if metric.function is None:
            if metric.name == R2.name:
                return Gathered(r2)
            if metric.name == ACCURACY.name:
                return Accuracy(self.loss.counted if self.loss.ignored else None)
            check_installed(metric.name)
            return Updated(Named(metric.name, self.device))
        if hasattr(metric.function, "update"):
            mine = metric.function.clone().to(self.device)
            mine.reset()
            return Updated(mine)
        return Gathered(metric.function)

    def _by_loop(
        self, metric: Metric, model: nn.Module, examples: Examples, part: int
    ) -> dict[str, float]:
        loader = examples.loader(part, device=self.device)
        found = _raised(metric.name, metric.function, own_model(model), loader)
        if not isinstance(found, Mapping) or metric.name not in found:
            names = ", ".join(map(str, found)) if isinstance(found, Mapping) else repr(found)
            raise ObjectiveError(
                f"metric {metric.name}: evaluate returned {names or 'nothing'}, wanted a dict with "
                f"{metric.name!r}"
            )
        return {str(name): _raised(str(name), float, value) for name, value in found.items()}


def _raised(name: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except ObjectiveError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0][:SHOWN]
        raise ObjectiveError(f"metric {name} fails: {said}") from error
