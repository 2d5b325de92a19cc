"""A task made ready: looked at once on one device, with what all its runs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loss import Loss
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.parameter import Parameter, usual_values
from batchfront.objectives.task import Task
from batchfront.objectives.training.batches import BATCHES, EXACT, check_rule
from batchfront.objectives.training.behaviour import behaviour, built, check_fresh
from batchfront.objectives.training.checks import check_forward, check_task, metrics_of
from batchfront.objectives.training.compiled import CompiledStep
from batchfront.objectives.training.identity import fingerprint
from batchfront.objectives.training.judge import Judge
from batchfront.objectives.training.learning_rate import check_betas
from batchfront.objectives.training.own_schedule import check_scheduler
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.objectives.training.scores import Scorer
from batchfront.objectives.training.sources import source_of
from batchfront.objectives.training.step import (
    check_recipe,
    least_batch,
    least_of,
    leave_unused,
    notes_on,
    why_least,
)
from batchfront.objectives.training.targets import check_targets
from batchfront.objectives.training.warm import warm_recurrent

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.metric import Metric
    from batchfront.objectives.training.source import Judged, Source


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A task that was checked, and what its runs have in common."""

    declared: Task  # as the user wrote it
    task: Task  # at the usual values of its parameters, as our loop trains it
    search: Mapping[str, Parameter]  # of the task and of the recipe
    source: Source
    loss: Loss
    judge: Judge
    behaviour: Mapping[str, Any]
    fingerprint: dict[str, str]
    baseline: tuple[float | None, float | None]  # loss and metric of the best constant
    least: int  # examples of the smallest batch
    some_unused: bool  # whether ranks find parameters without a gradient
    notes: tuple[str, ...]
    why_least: str
    compiled: CompiledStep | None


def made_ready(
    task: Task, *, name: str, device: str, compiled: bool, recipe: Recipe, batches: str
) -> Ready:
    """Look at a task, its data and its model once, before anything is measured.

    `batches`: the rule by which they are cut, of `batches.RULES`.

    Raises:
        ObjectiveError: data, model, loss or recipe do not fit together, or the step is one that
            must not be compiled.
    """
    check_task(task)
    check_rule(batches)
    recipe.check()
    search = _searched(task, recipe, name)
    declared, given = task, task.at(usual_values(task.search))
    metrics = metrics_of(given)
    source = source_of(given, name=name, device=device)
    source.check_recipe(recipe)
    task = source.form.adapt(given)
    model = built(task)
    judged = _checked(given, task, model, source)
    found = behaviour(task, source.look)
    loss = source.loss(given, task, model, batches)
    told = _fingerprint(given, model, source, recipe, batches, compiled=compiled)
    baseline = source.baseline(judged, loss)
    _check_technique(recipe, task, model, source, loss, name=name, device=device)
    least, some_unused = _least(task, recipe, source, model, batches)
    check_scheduler(task, recipe, compiled=compiled)
    judge = Judge(scorer=_scorer(metrics, loss, source, device), source=source)
    judge.check(model, task=name, device=device)
    warm_recurrent(model, device=device)
    step = (
        _compiled_step(task, source, search, recipe, name=name, device=device) if compiled else None
    )
    return Ready(
        declared=declared,
        task=task,
        search=search,
        source=source,
        loss=loss,
        judge=judge,
        behaviour=found,
        fingerprint=told,
        baseline=baseline,
        least=least,
        some_unused=some_unused,
        notes=(*notes_on(recipe, model), *source.notes),
        why_least=why_least(least, recipe),
        compiled=step,
    )


def _searched(task: Task, recipe: Recipe, name: str) -> Mapping[str, Parameter]:
    for taken in set(task.search) & set(recipe.search):
        raise ObjectiveError(f"task {name!r} has a searched parameter {taken!r} of its own")
    return {**task.search, **recipe.search}


def _checked(given: Task, task: Task, model: nn.Module, source: Source) -> Judged | None:
    """What its outputs are judged by, as `Source.judged` says; it fits together."""
    judged = source.judged(given, model)
    if judged is not None:
        check_targets(*judged)
        check_forward(*judged)
    check_fresh(task, model, source.look)
    return judged


def _fingerprint(
    given: Task,
    model: nn.Module,
    source: Source,
    recipe: Recipe,
    batches: str,
    *,
    compiled: bool,
) -> dict[str, str]:
    """What must not change within a study, by name; see `identity.fingerprint`."""
    told = fingerprint(given, model, source.fingerprint())
    told |= {BATCHES: batches} if batches == EXACT else {}
    told |= {"recipe": recipe.stored} if recipe.stored else {}
    return told | ({"step": "compiled"} if compiled else {})


def _check_technique(
    recipe: Recipe,
    task: Task,
    model: nn.Module,
    source: Source,
    loss: Loss,
    *,
    name: str,
    device: str,
) -> None:
    """Raise ObjectiveError where the optimizer, or a step, cannot follow the recipe."""
    if recipe.beta2_half_life is not None:
        check_betas(task.optimizer(model.parameters(), lr=1.0), task=name)
    if recipe.stored:
        check_recipe(recipe, task, source.look, loss, device=device)


def _scorer(metrics: Sequence[Metric], loss: Loss, source: Source, device: str) -> Scorer:
    return Scorer(
        metric=metrics[0],
        also=tuple(metrics[1:]),
        loss=loss,
        device=device,
        read=source.form.read,
        apart=source.form.apart,
    )


def _least(
    task: Task, recipe: Recipe, source: Source, model: nn.Module, batches: str
) -> tuple[int, bool]:
    """Examples of the smallest batch, and whether ranks find parameters without a gradient."""
    if recipe.data_parallel > 1:
        least = least_of(model) * recipe.data_parallel
        return least, leave_unused(task, recipe, source.look)
    return (least_batch(task, recipe, source.look) if batches == EXACT else 1), False


def _compiled_step(
    task: Task,
    source: Source,
    search: Mapping[str, Parameter],
    recipe: Recipe,
    *,
    name: str,
    device: str,
) -> CompiledStep:
    """Raises ObjectiveError where one step cannot serve all runs."""
    if replace(recipe, clip_grad_norm=None) != PLAIN:
        raise ObjectiveError(
            f"a compiled step knows nothing of {recipe.stored}: run without --compile"
        )
    if source.form.whole:
        raise ObjectiveError(
            "a compiled step takes batches that are pairs of tensors, and this task's are of "
            "another shape: run without --compile"
        )
    if search:
        raise ObjectiveError(
            f"task {name!r} searches {', '.join(search)}, and a compiled step is one "
            "for all runs: run without --compile"
        )
    return CompiledStep(task, source.look, device=device, clip=recipe.clip_grad_norm)
