"""What the members of a group have in common, and what cannot be trained in a group at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.randomness import seed_everything
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.rules import rule_of
from batchfront.objectives.fused.shape import Shape
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.parameter import names_taken
from batchfront.objectives.training.batches import EXACT
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.optimizer import build_optimizer
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.objectives.training.step import build_model

if TYPE_CHECKING:
    import torch
    from torch import nn

    from batchfront.objectives.task import Task
    from batchfront.objectives.training.feed import ResidentFeed

FOLLOWED = ("rate_schedule", "warmup_examples", "beta2_half_life")  # of a recipe


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One model, optimizer and batch size."""

    objective: TaskObjective
    task: Task  # as one of the members trains it
    batch_size: int  # examples of a step
    shape: Shape
    feed: ResidentFeed
    n_train: int
    values: tuple[tuple[str, Any], ...]  # of searched parameters that the model takes

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal where the same traced step serves."""
        return self.shape, self.batch_size, self.values

    def built(self, seed: int, rate: float) -> tuple[nn.Module, torch.optim.Optimizer]:
        """A new model in training mode, and its optimizer."""
        seed_everything(seed)
        return _built(self.objective, self.task, rate)


def _built(
    objective: TaskObjective, task: Task, rate: float
) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = build_model(task, objective.recipe).to(objective.device).train()
    return model, build_optimizer(task, model, learning_rate=rate, device=objective.device)


def setting_of(objective: Any, group: Sequence[TrialParams]) -> Setting:
    """What these runs of an objective have in common; changes the global random numbers.

    Raises:
        Refused: they cannot be trained together.
    """
    feed, n_train = check_objective(objective)
    sizes = {params.batch_size for params in group}
    if len(sizes) != 1:
        raise Refused(f"several batch sizes ({', '.join(map(str, sorted(sizes)))})")
    if any(params.schedule not in (None, "constant") for params in group):
        raise Refused("a batch size that grows")
    # Seeds and rates change no shape, and a model may take long to build.
    unlike = {tuple(sorted(params.extra.items())): params for params in group}.values()
    tasks = [objective.task_of(params) for params in unlike]
    values = {_values(objective, params) for params in unlike}
    made = [
        _built(objective, task, params.learning_rate)
        for task, params in zip(tasks, unlike, strict=True)
    ]
    rule = rule_of([optimizer for _, optimizer in made])
    shapes = {Shape.of(model, optimizer, rule) for model, optimizer in made}
    if len(shapes) != 1 or len(values) != 1:
        raise Refused("models that differ in more than their weights")
    return Setting(
        objective=objective,
        task=tasks[0],
        batch_size=min(sizes.pop(), n_train),
        feed=feed,
        n_train=n_train,
        shape=shapes.pop(),
        values=values.pop(),
    )


def _values(objective: TaskObjective, params: TrialParams) -> tuple[tuple[str, Any], ...]:
    search = objective.search
    taken = names_taken(objective.declared.model, search) if search else ()
    return tuple((name, params.extra[name]) for name in sorted(taken))


def check_objective(objective: Any) -> tuple[ResidentFeed, int]:
    """The training examples of an objective, and their number.

    Raises:
        Refused: its runs are trained one by one, whatever their parameters.
    """
    if not isinstance(objective, TaskObjective):
        raise Refused("a training loop of its own")
    if objective.compiled:
        raise Refused("compiled steps")
    if objective.member is not None or objective.recipe.data_parallel > 1:
        raise Refused("runs of several ranks")
    if objective.resident is None or objective.n_train is None:
        raise Refused("data that is loaded batch by batch")
    if objective.fingerprint.get("batches") != EXACT:
        raise Refused("epochs that end with a smaller batch")
    plain = replace(objective.recipe, **{name: getattr(PLAIN, name) for name in FOLLOWED})
    if plain != PLAIN:
        raise Refused(", ".join(_names(plain)))
    return objective.resident, objective.n_train


def _names(recipe: Recipe) -> list[str]:
    named = [one.name for one in fields(Recipe)]
    return [name for name in named if getattr(recipe, name) != getattr(PLAIN, name)]
