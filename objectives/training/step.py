"""What a recipe makes of a task's model and of a training step: micro-batches, precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from batchfront.objectives.gradients.parts import largest_part, n_parts
from batchfront.objectives.loss import Loss, as_loss
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.training.clipping import Clipper
from batchfront.objectives.training.feed import Batches
from batchfront.objectives.training.optimizer import step_function
from batchfront.objectives.training.precision import (
    LossScaler,
    autocast_to,
    check_precision,
    in_float32,
)
from batchfront.objectives.training.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from batchfront.objectives.run import Run
    from batchfront.objectives.task import Data, Task


def build_model(task: Task, recipe: Recipe) -> nn.Module:
    """The task's model as the recipe has it trained.

    Raises:
        ObjectiveError: the recipe is for models of another kind.
    """
    model = task.model()
    if recipe.ghost_batch_size is not None:
        from batchfront.objectives.training.ghost import use_ghost_batches

        use_ghost_batches(model, recipe.ghost_batch_size)
    if recipe.checkpoint_activations:
        from batchfront.objectives.training.recompute import recompute_activations

        recompute_activations(model)
    return model


def check_recipe(recipe: Recipe, task: Task, data: Data, loss: Loss, *, device: str) -> None:
    """Raise ObjectiveError where device, model or loss cannot follow."""
    for asked, option in (
        (recipe.micro_batch_sizes is not None, "--micro-batch-sizes"),
        (recipe.data_parallel > 1, "--data-parallel"),
        (recipe.schedule == "noise-scale", "--schedule noise-scale"),
    ):
        if asked:
            loss.check_splits(option)
    for precision in recipe.precisions:
        check_precision(precision, device)
    model = build_model(task, recipe)
    smallest = recipe.micro_batch_sizes and recipe.micro_batch_sizes[0]
    if smallest == 1 and least_batch(task, recipe, data) > 1:
        raise ObjectiveError(
            "--micro-batch-sizes from 1 leave batch norm no variance: choose 2 or more"
        )
    if recipe.ghost_batch_size == 1:
        try:
            model.train()(data.x_train[:2])
        except ValueError as error:
            raise ObjectiveError(
                f"--ghost-batch-size 1 leaves batch norm no variance ({error}): choose 2 or more"
            ) from None


def notes_on(recipe: Recipe, model: nn.Module) -> tuple[str, ...]:
    """What a person should know before the search."""
    if not has_batch_norm(model):
        return ()
    if recipe.data_parallel > 1:
        return (
            "batch norm takes its statistics from each rank's part of a batch: gradients are not "
            "those of whole batches, and runs are marked batch_norm_micro",
        )
    if recipe.micro_batch_sizes is None:
        return ()
    ghost = recipe.ghost_batch_size
    if ghost is not None and not any(size % ghost for size in recipe.micro_batch_sizes):
        return ()
    return (
        "batch norm takes its statistics from micro-batches: gradients are not those of whole "
        "batches, and runs that accumulate are marked batch_norm_micro",
    )


def has_batch_norm(model: nn.Module) -> bool:
    """Whether in training an example's output depends on the others of its batch."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return any(isinstance(module, _BatchNorm) for module in model.modules())


def why_least(least: int, recipe: Recipe) -> str:
    """Why the smallest batch is none of one example, where that is not the ranks' doing."""
    if least == 1 or recipe.data_parallel > 1:
        return ""
    return f"batch norm has no variance in one example: batch sizes begin at {least}"


def changes_step(recipe: Recipe, batch_size: int) -> bool:
    """Whether the loop's ordinary step will not do, for a recipe that `Recipe.at` gave."""
    whole = recipe.micro_batch_size(batch_size) >= batch_size
    return not whole or recipe.precision != "float32" or recipe.clip_grad_norm is not None


def facts_of(recipe: Recipe, batch_size: int, *, batch_norm: bool) -> dict[str, Any]:
    """What a run should say about itself, of a recipe that `Recipe.at` gave.

    A batch's gradient is the sum of its micro-batches' only where examples do not meet: batch norm
    normalises each micro-batch by itself, which ghost batches that divide it do anyway.
    """
    facts: dict[str, Any] = {}
    micro, ghost = recipe.micro_batch_size(recipe.of_rank(batch_size)), recipe.ghost_batch_size
    if recipe.micro_batch_sizes is not None:
        facts["micro_batch_size"] = micro
    if recipe.precision != "float32":
        facts["precision"] = recipe.precision
    if batch_norm and (micro < batch_size or ghost is not None):
        facts["statistics_batch_size"] = largest_part(micro, ghost or micro)
        if micro < batch_size and (ghost is None or micro % ghost):
            facts["batch_norm_micro"] = True
    return facts


class Stepper:
    """Trains one model, one optimizer step a batch."""

    def __init__(
        self,
        model: nn.Module,
        loss_of: Loss,
        optimizer: torch.optim.Optimizer,
        run: Run,
        *,
        recipe: Recipe,
        device: str,
    ) -> None:
        self._model = model
        self._loss_of = loss_of
        self._optimizer = optimizer
        self._run = run
        self._recipe = recipe
        self._device = device
        self._step = step_function(optimizer)
        self._scaler = LossScaler(device) if recipe.precision == "float16" else None
        most = recipe.clip_grad_norm
        self._clip = None if most is None else Clipper(model, most, device=device)

    def epoch(self, batches: Batches) -> None:
        """Train on every batch once."""
        try:
            for x, y in batches:
                loss = self._gradient(x, y)
                self._run.step(self._update(loss))
                del x, y  # so that the next one has not to lie beside it
        finally:
            if self._scaler is not None:
                self._run.trained_with(scaler_overflows=self._scaler.n_skipped)
            if self._clip is not None:
                self._run.trained_with(clipped_share=self._clip.share)

    def _gradient(self, x: Tensor, y: Tensor) -> Tensor:
        scale = _as_it_is if self._scaler is None else self._scaler.scale
        return gradient(
            self._model, self._loss_of, x, y, recipe=self._recipe, device=self._device, scale=scale
        )

    def _update(self, loss: Tensor) -> Tensor:
        """Step the optimizer; returns the loss to report."""
        if self._scaler is not None:
            return self._scaler.step(self._optimizer, loss, clip=self._clip)
        if self._clip is not None:
            self._clip()
        self._step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        parts = {"scaler": self._scaler, "clip": self._clip}
        return {name: part.state_dict() for name, part in parts.items() if part is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
        if self._clip is not None:
            self._clip.load_state_dict(state["clip"])


def _as_it_is(loss: Tensor) -> Tensor:
    return loss


def gradient(
    model: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    recipe: Recipe,
    device: str,
    n: int | None = None,
    scale: Callable[[Tensor], Tensor] = _as_it_is,
    total: Callable[[Tensor], Tensor] = _as_it_is,
) -> Tensor:
    """Leave the gradient of a batch's loss in the parameters; returns that loss.

    Args:
        n: examples of the batch, where `x` and `y` are only a rank's part of it.
        scale: of the terms that the loss is the sum of, before the gradient of each is taken.
        total: the weight of a whole batch from that of this part.
    """
    import torch

    loss_of = as_loss(loss_of)
    for parameter in model.parameters():
        parameter.grad = None
    n_passes = n_parts(len(x), recipe.micro_batch_size(len(x)))
    terms, weights = [], []
    for x_part, y_part in zip(x.tensor_split(n_passes), y.tensor_split(n_passes), strict=True):
        with autocast_to(recipe.precision, device):
            output = model(x_part)
        # A mean over the parts is not the mean of their means unless these are weighted.
        term, weight = loss_of.part(in_float32(output), y_part, n=n or len(x))
        scale(term).backward()
        terms.append(term.detach())
        weights.append(weight)
    loss = torch.stack(terms).sum()
    known = [weight for weight in weights if weight is not None]
    if not known:
        return loss
    weight = total(torch.stack(known).sum())
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad /= weight
    return loss / weight


def least_of(model: nn.Module) -> int:
    """Examples that a rank needs, if it has any: batch norm cannot take one alone."""
    return 2 if has_batch_norm(model) else 1


def least_batch(task: Task, recipe: Recipe, data: Data) -> int:
    """The smallest batch that can be trained on: one example may have no variance to normalise."""
    import torch

    with torch.random.fork_rng(devices=[]):
        model = build_model(task, recipe).train()
        if has_batch_norm(model):
            try:
                model(data.x_train[:1])
            except ValueError:
                return 2
    return 1


def leave_unused(task: Task, recipe: Recipe, data: Data) -> bool:
    """Whether some parameters get no gradient, for which other ranks would wait."""
    import torch

    with torch.random.fork_rng(devices=[]):
        model = build_model(task, recipe).train()
        as_loss(task.loss)(model(data.x_train[:2]), data.y_train[:2]).backward()
    return any(p.grad is None for p in model.parameters() if p.requires_grad)
