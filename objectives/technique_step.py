"""The training step of a recipe that changes it: micro-batches, precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from objectives.feed import Batches
from objectives.optimizer import step_function
from objectives.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from objectives.run import Run


def changes_step(recipe: Recipe, batch_size: int) -> bool:
    """Whether the loop's ordinary step will not do, for a recipe that `Recipe.at` gave."""
    return recipe.micro_batch_size(batch_size) < batch_size or recipe.precision != "float32"


class Stepper:
    """Trains one model, one optimizer step a batch."""

    def __init__(
        self,
        model: nn.Module,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        run: Run,
        *,
        recipe: Recipe,
        device: str,
    ) -> None:
        self._model = model
        self._loss_of = loss_of
        self._run = run
        self._recipe = recipe
        self._device = device
        self._parameters = list(model.parameters())
        self._step = step_function(optimizer)

    def epoch(self, batches: Batches) -> None:
        """Train on every batch once."""
        for x, y in batches:
            loss = self._gradient(x, y)
            self._update()
            self._run.step(loss)

    def _gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Leaves the gradient of the batch's mean loss in the parameters; returns that loss."""
        import torch

        for parameter in self._parameters:
            parameter.grad = None
        n_passes = -(-len(x) // self._recipe.micro_batch_size(len(x)))
        losses = []
        for x_part, y_part in zip(x.tensor_split(n_passes), y.tensor_split(n_passes), strict=True):
            # A mean over the parts is not the mean of their means unless they are weighted.
            loss = self._loss_of(self._model(x_part), y_part) * (len(x_part) / len(x))
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _update(self) -> None:
        self._step()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
