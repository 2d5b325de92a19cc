"""A task's own scheduler against torch's, stepped by hand."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.study.plan.behaviour import changes
from tests.objectives.conftest import made_task, train
from tests.objectives.training.test_resume import assert_same_weights, cut_after, timeless, uncut

PARAMS = TrialParams(batch_size=24, learning_rate=0.05, epochs=4, seed=7, device="cpu")


def cosine(optimizer: Any, total_steps: int) -> Any:
    return lr_scheduler.CosineAnnealingLR(optimizer, total_steps)


def one_cycle(optimizer: Any, total_steps: int) -> Any:
    highest = optimizer.param_groups[0]["lr"]
    return lr_scheduler.OneCycleLR(optimizer, highest, total_steps=total_steps)


def warm_then_decay(optimizer: Any, total_steps: int) -> Any:
    parts = [
        lr_scheduler.LinearLR(optimizer, 0.1, total_iters=total_steps // 4),
        lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[total_steps // 4])


class Noted(torch.optim.SGD):
    """Writes down the rate of each of its steps."""

    rates: list[float]

    def step(self, closure: Any = None) -> None:
        type(self).rates.append(float(self.param_groups[0]["lr"]))
        super().step(closure)


def objective_of(scheduler: Any, recipe: Recipe = PLAIN, **changes: Any) -> TaskObjective:
    task = made_task(scheduler=scheduler, **changes)
    return TaskObjective(task, name="made", device="cpu", recipe=recipe)


@pytest.mark.parametrize("make", [cosine, one_cycle, warm_then_decay])
@pytest.mark.parametrize("recipe", [PLAIN, Recipe(micro_batch_sizes=(8, 8), clip_grad_norm=1.0)])
def test_every_step_is_taken_at_the_rate_of_torchs_scheduler(make, recipe):
    objective = objective_of(make, recipe, optimizer=Noted)
    Noted.rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that a scheduler stepped before its optimizer
        measured = train(objective, batch_size=24, learning_rate=0.05, epochs=4).result()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05)
    scheduler, expected = make(optimizer, measured.total_steps), []
    for _ in range(measured.total_steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert Noted.rates == expected
    assert len(set(expected)) > 3


@pytest.mark.parametrize("make", [cosine, one_cycle, warm_then_decay])
@pytest.mark.parametrize("n_epochs", [1, 3])
def test_a_run_with_a_scheduler_goes_on_bit_for_bit(make, n_epochs):
    objective = objective_of(make)
    whole, kept = uncut(objective, PARAMS)
    resumed, again = cut_after(objective, n_epochs, PARAMS)
    assert timeless(resumed) == timeless(whole)
    assert_same_weights(kept, again)
    assert kept["loop"]["scheduler"] == again["loop"]["scheduler"]


@pytest.mark.parametrize(
    ("recipe", "compiled", "option"),
    [
        (Recipe(rate_schedule="cosine"), False, "--rate-schedule"),
        (Recipe(warmup_examples=10), False, "--warmup-examples"),
        (Recipe(schedule="noise-scale"), False, "--schedule noise-scale"),
        (PLAIN, True, "--compile"),
    ],
)
def test_options_that_set_the_rate_too_are_refused(recipe, compiled, option):
    with pytest.raises(ObjectiveError, match=f"scheduler of its own, and {option}"):
        TaskObjective(
            made_task(scheduler=cosine), name="made", device="cpu", recipe=recipe, compiled=compiled
        )


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (lambda optimizer, total_steps: None, "returned NoneType"),
        (lambda optimizer, n: lr_scheduler.ReduceLROnPlateau(optimizer), "without a metric"),
        (lambda optimizer: None, "raises TypeError"),
        (lambda optimizer, n: 1 / 0, "raises ZeroDivisionError"),
        ("cosine", "raises TypeError"),
    ],
)
def test_what_is_no_scheduler_is_said_when_the_task_is_loaded(scheduler, said):
    with pytest.raises(ObjectiveError, match=said) as refused:
        objective_of(scheduler)
    assert "\n" not in str(refused.value)


def test_another_scheduler_is_seen_as_another_loss_is():
    by = {make: objective_of(make).behaviour for make in (cosine, one_cycle, None)}
    again = objective_of(lambda o, n: lr_scheduler.CosineAnnealingLR(o, n)).behaviour
    assert changes(by[cosine], again) == [], "the same by another name"
    for before, after in ((cosine, one_cycle), (cosine, None), (None, cosine)):
        assert changes(by[before], by[after]) == ["scheduler (its learning rates)"]


def test_growing_batches_tell_the_scheduler_how_many_steps_there_will_be():
    told = []

    def noted(optimizer: Any, total_steps: int) -> Any:
        told.append(total_steps)
        return cosine(optimizer, total_steps)

    objective = objective_of(noted, Recipe(schedule="doubling"))
    told.clear()
    measured = train(objective, batch_size=8, epochs=6).result()
    assert told == [measured.total_steps]
    assert measured.phases[-1].batch_size > 8
