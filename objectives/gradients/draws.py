"""Squared norms of gradients at fixed parameters: of batches, and of single examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.gradients.parts import n_parts
from batchfront.objectives.loading.examples import Examples, Pair
from batchfront.objectives.loading.tree import alone, by_example
from batchfront.objectives.loss import SUM, as_loss, over
from batchfront.objectives.raised import text_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

CHUNK_BYTES = 64 * 2**20  # of per-example gradients at a time
CHECKED_EXAMPLES = 4
TOLERANCE = 1e-3  # relative, of a mean of gradients and the gradient of the mean


@dataclass(frozen=True, kw_only=True)
class ExampleNorms:
    """Two squared norms of n examples' gradients g_i."""

    mean_square: float  # mean of |g_i|^2
    square_of_mean: float  # |mean of g_i|^2


class Gradients:
    """The gradients of a model's loss over a training split, in train mode.

    The parameters stay as they are; what a forward pass changes besides (as batch norm's running
    means) may change.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        examples: Examples,
        *,
        device: str,
        part: int | None = None,  # examples of one pass at most; None: whole batches
    ) -> None:
        self._part = part
        self.model = model.to(device).train()
        self.n_train = len(examples)
        self._loss = as_loss(loss)
        self._examples = examples
        self._device = device
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Indices of a batch, drawn with replacement.

        Without it the batch would share in a finite split's mean: batches as large as the split
        would have no noise at all, and both estimators assume draws that are independent.
        """
        import torch

        return torch.randint(self.n_train, (size,), generator=generator)

    def square(self, indices: Tensor) -> float:
        """|gradient of the batch's loss|^2."""
        return _square(self._of_batch(*self._batch(indices)))

    def of_examples(self, indices: Tensor) -> ExampleNorms:
        """What `torch.func` finds example by example, in chunks that fit into memory."""
        import torch

        n, squares = len(indices), 0.0
        total = [torch.zeros_like(p) for p in self._parameters.values()]
        n_bytes = sum(p.nbytes for p in self._parameters.values())
        for chunk in indices.split(max(1, CHUNK_BYTES // max(n_bytes, 1))):
            each = self._of_each(*self._batch(chunk))  # every tensor (chunk, *parameter)
            squares += _square(each)
            for sum_, grads in zip(total, each, strict=True):
                sum_ += grads.sum(dim=0)
        return ExampleNorms(mean_square=squares / n, square_of_mean=_square(total) / n**2)

    def coupled(self) -> str:
        """Why a batch's gradient is not the mean of its examples' gradients, or ""."""
        import torch

        x, y = self._batch(torch.arange(min(CHECKED_EXAMPLES, self.n_train)))
        with _no_dropout(self.model):
            batch = self._of_batch(x, y)
            try:
                each = self._of_each(x, y)
            except (RuntimeError, ValueError, TypeError) as error:  # as batch norm's statistics
                return (text_of(error).splitlines() or [type(error).__name__])[0][:120]
        means = [grads.mean(dim=0) for grads in each]
        off = _square([a - b for a, b in zip(means, batch, strict=True)])
        if off <= TOLERANCE**2 * max(_square(batch), _square(means)):
            return ""
        return "the gradient of a batch is not the mean of its examples' gradients"

    def _batch(self, indices: Tensor) -> Pair:
        x, y = self._examples.at(indices)
        return x.to(self._device), y.to(self._device)

    def _of_batch(self, x: Any, y: Any) -> list[Tensor]:
        import torch

        parameters = list(self._parameters.values())
        total: list[Tensor] = []
        weights: list[Tensor | None] = []
        n = n_parts(len(x), self._part or len(x))
        for x_part, y_part in zip(x.tensor_split(n), y.tensor_split(n), strict=True):
            term, weight = self._loss.part(self.model(x_part), y_part, n=len(x))
            grads = torch.autograd.grad(term, parameters, materialize_grads=True)
            total = [a + b for a, b in zip(total, grads, strict=True)] if total else list(grads)
            weights.append(None if weight is None else weight.detach())
        # Of the mean: a sum's gradient would grow with the batch, and no noise fall.
        whole = len(x) if self._loss.kind == SUM else 1
        return [over(grads, weights) / whole for grads in total]

    def _of_each(self, x: Any, y: Any) -> list[Tensor]:
        from torch.func import functional_call, grad, vmap

        def loss_of(parameters: dict[str, Tensor], x_i: list[Tensor], y_i: list[Tensor]) -> Tensor:
            output: Any = functional_call(self.model, parameters, (alone(x, x_i),))
            return self._loss(output, alone(y, y_i))

        detached = {name: p.detach() for name, p in self._parameters.items()}
        each = vmap(grad(loss_of), in_dims=(None, 0, 0), randomness="different")
        grads: dict[str, torch.Tensor] = each(detached, by_example(x), by_example(y))
        return list(grads.values())


@contextmanager
def _no_dropout(model: nn.Module) -> Iterator[None]:
    """What draws random numbers in train mode would make any two gradients differ."""
    from torch import nn

    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
    dropouts = [m for m in model.modules() if isinstance(m, kinds) and m.training]
    for module in dropouts:
        module.eval()
    try:
        yield
    finally:
        for module in dropouts:
            module.train()


def _square(tensors: list[Tensor]) -> float:
    """Sum of squares of all elements."""
    import torch

    squares = [torch.linalg.vector_norm(t).square() for t in tensors]
    return float(torch.stack(squares).sum()) if squares else 0.0
