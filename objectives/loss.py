"""How the loss of a batch follows from the losses of its parts.

Parts weigh as many examples as they have where a loss is a mean over them. With class weights or
targets that are ignored it is no such mean, and the sum of the parts' gradients would be another
gradient (its cosine with the batch's can fall below a half). So a loss is looked at before it is
trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import ObjectiveError

if TYPE_CHECKING:
    from torch import Tensor, nn

MEAN, SUM = "mean", "sum"
COUNTED = "counted"  # returns a sum and what it is to be divided by
WHOLE = "whole"  # of the batch as a whole: no weights of parts are known
TOLERANCE = 1e-4  # relative, of float32
LOOKED_AT = 256  # examples, besides one of each class


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A task's loss; called with outputs and targets of a batch it gives the scalar to train on."""

    of: Callable[[Tensor, Tensor], Any]
    kind: str = MEAN
    ignored: tuple[int, ...] = ()  # targets that it takes no notice of

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        found: Any = self.of(output, y)
        loss: Tensor = found[0] / found[1] if isinstance(found, tuple) else found
        return loss

    @property
    def scalar(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The same, without a call between where the task's own will do."""
        return self if self.kind == COUNTED else self.of

    def part(self, output: Tensor, y: Tensor, *, n: int) -> tuple[Tensor, Tensor | None]:
        """A part's term and weight, of a batch of `n` examples.

        The batch's loss is the sum of terms, over the sum of weights where there are any.
        """
        found = self.of(output, y)
        if isinstance(found, tuple):
            return found[0] / n, found[1] / n
        return (found if self.kind == SUM else found * (len(y) / n)), None

    def mean(self, parts: Iterable[tuple[Tensor, Tensor]], *, n: int) -> Tensor:
        """The loss of `n` examples in parts; for each of them where the loss is a sum."""
        return self.joined([self.part(output, y, n=n) for output, y in parts], n=n)

    def joined(self, parts: Iterable[tuple[Tensor, Tensor | None]], *, n: int) -> Tensor:
        """The same of terms and weights that `part` gave."""
        terms, weights = zip(*parts, strict=True)
        loss: Tensor = over(sum(terms), weights) / (n if self.kind == SUM else 1)
        return loss

    def of_batch(self, mean: float | None, batch_size: int) -> float | None:
        """The loss of a batch whose examples have this mean loss."""
        return mean * batch_size if mean is not None and self.kind == SUM else mean

    def counted(self, y: Tensor) -> Tensor:
        """Whether it looks at each target; bool, of their shape."""
        import torch

        return ~torch.isin(y, torch.tensor(self.ignored, dtype=y.dtype, device=y.device))

    def check_splits(self, what: str) -> None:
        """Raise ObjectiveError where `what` would cut a batch and parts weigh nobody knows what."""
        if self.kind == WHOLE:
            raise ObjectiveError(
                f"the loss of a batch is not the mean of its examples' (class weights, ignored "
                f"targets, pairs?), so {what} would follow another gradient: leave it out, or "
                "return (sum, weight) from the loss"
            )


def over(term: Any, weights: Iterable[Any]) -> Any:
    """The terms' sum over the weights', where there are any."""
    known = [weight for weight in weights if weight is not None]
    return term / sum(known) if known else term


def as_loss(loss: Callable[[Tensor, Tensor], Any]) -> Loss:
    """A loss that is not looked at is taken for a mean."""
    return loss if isinstance(loss, Loss) else Loss(of=loss)


def looked_at(
    loss: Callable[[Tensor, Tensor], Any], model: nn.Module, x: Tensor, y: Tensor, *, classes: bool
) -> Loss:
    """The loss with its kind, and which classes it ignores; `x`, `y`: the training split.

    Compared on examples in the order of their targets, so that parts differ in what they weigh,
    and on outputs that random numbers tell apart: an untrained model may find all alike.
    """
    import torch

    picked = _picked(y, classes=classes)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        output, y = model.eval()(x[picked]), y[picked]
        try:
            apart = (
                output.float() if output.element_size() < 4 else output
            )  # 16 bits round too much
            return _told(loss, apart + torch.randn_like(apart), y, classes=classes)
        except Exception:  # probabilities, say, that must stay between 0 and 1
            return _told(loss, output, y, classes=classes)


def looked_at_in_parts(loss: Callable[..., Any], model: nn.Module, batch: Any) -> Loss:
    """The loss with its kind, of a model whose outputs nobody else can read.

    `batch`: of a form that can be cut, both inputs and targets.

    Raises:
        ObjectiveError: the loss is no scalar.
    """
    import torch

    def at(some: Any) -> Any:
        return loss(model(some), some)

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        model.eval()
        found = at(batch)
        given = found if isinstance(found, tuple) and len(found) == 2 else (found,)
        if not all(isinstance(one, torch.Tensor) and one.ndim == 0 for one in given):
            raise ObjectiveError(
                "the loss of a batch must be a scalar tensor, or a sum and its weight, each a "
                "scalar tensor"
            )
        kind = COUNTED if len(given) == 2 else _kind_in_parts(at, float(found), batch)
    return Loss(of=loss, kind=kind)


def _kind_in_parts(at: Callable[[Any], Any], whole: float, batch: Any) -> str:
    n, cut = len(batch), max(1, len(batch) // 3)
    if n == 1:
        return MEAN
    try:
        parts = float(at(batch[:cut])), float(at(batch[cut:]))
    except Exception:  # it needs more examples than a part has
        return WHOLE
    return _kind_of(whole, parts, n=n, cut=cut)


def _picked(y: Tensor, *, classes: bool) -> Tensor:
    """Indices of examples from all over the targets, ascending in these."""
    import torch

    flat = y.flatten(1).double().mean(dim=1) if y.ndim > 1 else y.double()
    order = flat.argsort(stable=True)
    picked = order[torch.linspace(0, len(y) - 1, min(LOOKED_AT, len(y))).long()]
    if classes and y.ndim == 1:
        values, inverse = y.unique(return_inverse=True)
        first = torch.zeros(len(values), dtype=torch.int64)
        first[inverse] = torch.arange(len(y))  # one of each
        picked = torch.cat([picked, first[:LOOKED_AT]]).unique()
        picked = picked[flat[picked].argsort(stable=True)]
    return picked


def _told(loss: Any, output: Tensor, y: Tensor, *, classes: bool) -> Loss:
    kind = COUNTED if isinstance(loss(output, y), tuple) else _kind(loss, output, y)
    found = Loss(of=loss, kind=kind)
    ignored = _ignored(found, output, y) if classes else ()
    return Loss(of=loss, kind=kind, ignored=ignored)


def _kind(loss: Any, output: Tensor, y: Tensor) -> str:
    n, cut = len(y), max(1, len(y) // 3)
    if n == 1:
        return MEAN
    whole = float(loss(output, y))
    try:
        parts = float(loss(output[:cut], y[:cut])), float(loss(output[cut:], y[cut:]))
    except Exception:  # it needs more examples than a part has
        return WHOLE
    return _kind_of(whole, parts, n=n, cut=cut)


def _kind_of(whole: float, parts: tuple[float, float], *, n: int, cut: int) -> str:
    """The kind of a loss of `n` examples, and of the first `cut` of them and the others."""
    if _close(whole, (cut * parts[0] + (n - cut) * parts[1]) / n):
        return MEAN
    return SUM if _close(whole, sum(parts)) else WHOLE


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def _ignored(loss: Loss, output: Tensor, y: Tensor) -> tuple[int, ...]:
    """The targets at which no output changes the loss, if there are others."""
    import torch

    with torch.enable_grad():
        leaf = output.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(leaf, y), leaf, materialize_grads=True)
    felt = slope.abs().sum(dim=1) > 0  # (B,) or (B, T)
    values = y.unique()
    ignored = [int(value) for value in values if not felt[y == value].any()]
    return tuple(ignored) if len(ignored) < len(values) else ()
