"""Clipped gradients against torch.nn.utils.clip_grad_norm_."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.training.clipping import share_of
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import PLAIN, Recipe
from tests.objectives.conftest import made_task, train
from tests.objectives.training.test_resume import (
    assert_same_weights,
    cut_after,
    noisy_model,
    small_data,
    timeless,
    uncut,
)

MOST = 0.4  # some steps are above
PARAMS = TrialParams(batch_size=24, learning_rate=0.05, epochs=4, seed=7, device="cpu")


class ClippingSGD(torch.optim.SGD):
    """Torch's own clipping, by somebody who knows of no recipe."""

    norms: list[float]

    def step(self, closure: Any = None) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        type(self).norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, MOST)))
        super().step(closure)


def objective_of(recipe: Recipe, **changes: Any) -> TaskObjective:
    task = made_task(optimizer=partial(torch.optim.SGD, momentum=0.9, foreach=False), **changes)
    return TaskObjective(task, name="made", device="cpu", recipe=recipe)


@pytest.mark.parametrize(
    "recipe",
    [
        PLAIN,
        Recipe(micro_batch_sizes=(8, 8)),
        Recipe(precisions=("bfloat16",)),
        Recipe(rate_schedule="cosine", warmup_examples=100),
    ],
    ids=["plain", "micro", "bfloat16", "cosine"],
)
def test_a_run_that_clips_is_that_of_torchs_clipping_bit_for_bit(recipe):
    ClippingSGD.norms = []
    theirs = objective_of(recipe)
    optimizer = partial(ClippingSGD, momentum=0.9, foreach=False)
    theirs.task = replace(theirs.task, optimizer=optimizer)
    expected, kept = uncut(theirs, PARAMS)
    n_before = len(ClippingSGD.norms)
    found, ours = uncut(objective_of(replace(recipe, clip_grad_norm=MOST)), PARAMS)
    if recipe.micro_batch_sizes is None and recipe.precision == "float32":
        assert found.metric_curve == expected.metric_curve  # ours passes through another step
    for name, value in kept["loop"]["model"].items():
        torch.testing.assert_close(ours["loop"]["model"][name], value, rtol=1e-6, atol=1e-7)
    share = sum(norm > MOST for norm in ClippingSGD.norms) / n_before
    assert 0 < share < 1, "some are clipped, and some are not"
    assert found.techniques["clipped_share"] == pytest.approx(share)


def test_a_limit_that_nothing_reaches_changes_no_weight():
    unclipped, kept = uncut(objective_of(PLAIN), PARAMS)
    found, ours = uncut(objective_of(Recipe(clip_grad_norm=1e9)), PARAMS)
    assert found.techniques["clipped_share"] == 0
    assert found.metric_curve == unclipped.metric_curve
    for name, value in kept["loop"]["model"].items():
        torch.testing.assert_close(ours["loop"]["model"][name], value, rtol=1e-6, atol=1e-7)


def test_the_scale_of_float16_is_taken_off_before_gradients_are_clipped():
    half, ours = uncut(objective_of(Recipe(precisions=("float16",), clip_grad_norm=MOST)), PARAMS)
    full, kept = uncut(objective_of(Recipe(clip_grad_norm=MOST)), PARAMS)
    for name, value in kept["loop"]["model"].items():
        torch.testing.assert_close(ours["loop"]["model"][name], value, rtol=0.05, atol=0.01)
    assert half.techniques["clipped_share"] == pytest.approx(
        full.techniques["clipped_share"], abs=0.1
    )


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_run_that_clips_goes_on_bit_for_bit_with_its_share(precision):
    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 500 * torch.nn.functional.cross_entropy(output, y)  # makes a scaler overflow

    recipe = Recipe(clip_grad_norm=100.0, precisions=(precision,), ghost_batch_size=8)
    objective = objective_of(recipe, data=small_data, model=noisy_model, loss=loss)
    (whole, kept), (resumed, again) = uncut(objective, PARAMS), cut_after(objective, 2, PARAMS)
    assert timeless(resumed) == timeless(whole)
    assert_same_weights(kept, again)
    assert 0 < whole.techniques["clipped_share"] <= 1


def test_memory_of_a_step_that_clips_is_predicted():
    recipe = Recipe(clip_grad_norm=MOST)
    objective = TaskObjective(made_task(), name="made", device="cpu", recipe=recipe)
    measured = train(objective, batch_size=64, epochs=4).result().peak_memory_bytes
    assert objective.predict_peak_bytes(64) == pytest.approx(measured, rel=0.002)


@pytest.mark.slow
def test_a_compiled_step_clips_as_the_ordinary_one():
    torch.compiler.reset()
    task = made_task()
    recipe = Recipe(clip_grad_norm=MOST)
    compiled = TaskObjective(task, name="made", device="cpu", recipe=recipe, compiled=True)
    for batch_size in (24, 1):
        found, expected = (
            train(one, batch_size=batch_size).result() for one in (compiled, objective_of(recipe))
        )
        assert found.metric_curve == pytest.approx(expected.metric_curve, rel=1e-3, abs=1e-4)
        assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-3)
        assert 0 < found.techniques["clipped_share"] < 1
        assert found.techniques == pytest.approx(expected.techniques)
    bound = compiled._compiled.bind(objective_of(recipe).task.model(), 0.1)
    state = {**bound.state_dict(), "clipped": [torch.tensor([3, 4])]}
    bound.load_state_dict(state)
    assert share_of(bound.state["clipped"][0]) == 0.75


@pytest.mark.parametrize("most", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(most):
    with pytest.raises(ObjectiveError, match="clip_grad_norm"):
        Recipe(clip_grad_norm=most).check()
