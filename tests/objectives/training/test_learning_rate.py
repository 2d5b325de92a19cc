"""Warm-up, cosine and Adam's half-life, against torch's own schedulers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.training.learning_rate import RateDriver, RateSchedule, beta2_of
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import Recipe
from tests.objectives.conftest import made_task, train

RATE = 0.3


def optimizer_of(kind: Any = torch.optim.SGD, **options: Any) -> torch.optim.Optimizer:
    return kind([torch.nn.Parameter(torch.zeros(2))], lr=RATE, **options)


def torchs(make: Any, n_steps: int) -> list[float]:
    """The rates of a torch scheduler, step by step."""
    optimizer = optimizer_of()
    scheduler = make(optimizer)
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def ours(recipe: Recipe, *, size: int, n_train: int, epochs: int) -> list[float]:
    """What the driver has in place at each batch."""
    optimizer = optimizer_of()
    driver = RateDriver(optimizer, recipe, Length(amount=epochs, n_train=n_train), batch_size=size)
    rates = []
    for epoch in range(epochs):
        batches = [(part, part) for part in torch.zeros(n_train).split(size)]
        for _ in driver.over(batches, seen=epoch * n_train, batch_size=size):
            rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_warm_up_is_torchs_linear_one():
    recipe = Recipe(warmup_examples=48)  # six steps of eight
    found = ours(recipe, size=8, n_train=32, epochs=3)
    expected = torchs(lambda o: LinearLR(o, start_factor=1 / 6, total_iters=5), 12)
    assert found == pytest.approx(expected, rel=1e-12)


def test_cosine_is_torchs():
    found = ours(Recipe(rate_schedule="cosine"), size=8, n_train=32, epochs=3)
    assert found == pytest.approx(torchs(lambda o: CosineAnnealingLR(o, 12), 12), rel=1e-12)


def test_cosine_after_warm_up_is_torchs_sequence():
    recipe = Recipe(rate_schedule="cosine", warmup_examples=24)

    def sequence(optimizer: torch.optim.Optimizer) -> SequentialLR:
        parts = [LinearLR(optimizer, 1 / 3, total_iters=2), CosineAnnealingLR(optimizer, 9)]
        return SequentialLR(optimizer, parts, milestones=[3])

    found = ours(recipe, size=8, n_train=32, epochs=3)
    assert found == pytest.approx(torchs(sequence, 12), rel=1e-12)


@pytest.mark.parametrize("size", [1, 4, 16])
def test_all_batch_sizes_have_warmed_up_after_the_same_examples(size):
    schedule = RateSchedule(warmup_examples=64)
    assert schedule.factor(64 - size, size) == 1.0
    assert schedule.factor(32 - size, size) == 0.5
    assert schedule.factor(64, size) == 1.0


def test_a_tensor_rate_stays_the_same_tensor():
    rate = torch.tensor(RATE)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))], lr=rate)
    driver = RateDriver(
        optimizer, Recipe(warmup_examples=4), Length(amount=1, n_train=4), batch_size=1
    )
    x = torch.zeros(2)
    for _ in driver.over([(x, x)], seen=0, batch_size=2):
        assert optimizer.param_groups[0]["lr"] is rate
        assert float(rate) == pytest.approx(RATE / 2)


def test_groups_of_an_optimizer_keep_the_ratio_of_their_rates():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.4)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    driver = RateDriver(
        optimizer, Recipe(warmup_examples=4), Length(amount=1, n_train=4), batch_size=1
    )
    x = torch.zeros(1)
    for _ in driver.over([(x, x)], seen=0, batch_size=1):
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.025, 0.1])


def test_beta2_follows_the_law_of_the_batch_size_exactly():
    half_life = 5000.0
    for base, size in ((1, 64), (32, 8), (512, 1)):
        expected = beta2_of(base, half_life) ** (size / base)
        assert beta2_of(size, half_life) == pytest.approx(expected, rel=1e-12)
    assert beta2_of(1, half_life) ** half_life == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize("size", [1, 10, 50])
def test_a_gradient_has_half_its_weight_after_the_half_life_at_any_batch_size(size):
    """Adam's second moment of one gradient of 1, then as many zeros as the half-life holds."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    driver = RateDriver(
        optimizer, Recipe(beta2_half_life=100.0), Length(amount=1, n_train=100), batch_size=1
    )
    weight.grad = torch.ones_like(weight)
    driver.over([], seen=0, batch_size=size)
    optimizer.step()
    first = float(optimizer.state[weight]["exp_avg_sq"])
    weight.grad = torch.zeros_like(weight)
    for _ in range(100 // size):
        optimizer.step()
    assert float(optimizer.state[weight]["exp_avg_sq"]) == pytest.approx(first / 2, rel=1e-12)


def test_an_optimizer_without_a_second_moment_is_refused():
    with pytest.raises(ObjectiveError, match="SGD, which has no beta2"):
        TaskObjective(made_task(), name="made", device="cpu", recipe=Recipe(beta2_half_life=100.0))


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(warmup_examples=100_000),  # never reached
        Recipe(rate_schedule="cosine"),
        Recipe(beta2_half_life=50.0),
        Recipe(rate_schedule="cosine", warmup_examples=150, micro_batch_sizes=(4, 4)),
    ],
)
def test_a_recipe_changes_what_is_trained(recipe):
    task = made_task(optimizer=torch.optim.Adam)
    params = TrialParams(batch_size=16, learning_rate=0.02, epochs=3, seed=1, device="cpu")
    curves = []
    for chosen in (recipe, replace(recipe, micro_batch_sizes=None), Recipe()):
        run = Run()
        carry_out(TaskObjective(task, name="made", device="cpu", recipe=chosen), params, run)
        curves.append((run.result().train_loss, run.curve))
    assert curves[0][0] == pytest.approx(curves[1][0], rel=1e-5)
    assert curves[0] != curves[2]


@pytest.mark.parametrize("size", [8, 30, 77])
def test_a_run_warms_up_and_decays_by_the_examples_that_its_steps_took(size, monkeypatch):
    """Also where an epoch leaves a rest over, which the next one takes."""
    recipe = Recipe(rate_schedule="cosine", warmup_examples=90)
    factors: list[float] = []
    of_step = RateSchedule.factor

    def watched(schedule: RateSchedule, seen: int, n: int) -> float:
        factors.append(of_step(schedule, seen, n))
        return factors[-1]

    monkeypatch.setattr(RateSchedule, "factor", watched)
    train(TaskObjective(made_task(), name="made", device="cpu", recipe=recipe),
          batch_size=size, epochs=4)  # fmt: skip
    schedule = RateSchedule(warmup_examples=90, cosine_examples=400)
    expected = [of_step(schedule, step * size, size) for step in range(400 // size)]
    assert factors == expected
