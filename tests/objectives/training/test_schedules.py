"""The batch size of every epoch, and what a run says of it."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.device.randomness import random_states
from batchfront.objectives.gradients.draws import Gradients
from batchfront.objectives.length import Length
from batchfront.objectives.loading.examples import Tensors
from batchfront.objectives.measurement import Phase, TrialParams
from batchfront.objectives.probes.cost import probe
from batchfront.objectives.run import Run
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import Recipe
from batchfront.objectives.training.schedules import MULTIPLE, BatchSizes, Growth, is_noisy
from tests.objectives.conftest import FakeTime, made_data, made_task, train


def growing(schedule: str, **changes: Any) -> TaskObjective:
    recipe = Recipe(schedule=schedule, **changes)
    return TaskObjective(made_task(), name="made", device="cpu", recipe=recipe)


def sizes_trained(objective: TaskObjective, monkeypatch: pytest.MonkeyPatch, **params: Any) -> Any:
    """The largest batch of every epoch, as the loss saw them, and the run."""
    seen: list[list[int]] = []
    epoch = objective._source.feed.epoch

    def watched(examples: torch.Tensor, size: int) -> Any:
        seen.append([len(x) for x, _ in epoch(examples, size)])
        return epoch(examples, size)

    monkeypatch.setattr(objective._source.feed, "epoch", watched)
    run = train(objective, **params)
    return seen, run


def test_doubling_doubles_after_a_half_three_quarters_and_seven_eighths(monkeypatch):
    seen, run = sizes_trained(growing("doubling"), monkeypatch, batch_size=4, epochs=8)
    assert [max(sizes) for sizes in seen] == [4, 4, 4, 4, 8, 8, 16, 32]
    measured = run.result()
    assert measured.phases == ((4, 4, 100), (8, 2, 25), (16, 1, 6), (32, 1, 3))
    assert measured.steps == measured.total_steps == sum(map(len, seen)) == 134
    assert run.share_done == 1


@pytest.mark.parametrize("epochs", range(1, 12))
def test_doubling_follows_the_shares_of_any_number_of_epochs(epochs):
    sizes = Growth(schedule="doubling", length=Length(amount=epochs, n_train=10**6)).planned(1)
    for index, size in enumerate(sizes):
        assert size == 2 ** sum(index / epochs >= share for share in (0.5, 0.75, 0.875))


def test_doubling_ends_at_the_training_set():
    sizes = Growth(schedule="doubling", length=Length(amount=8, n_train=100)).planned(32)
    assert sizes == [32] * 4 + [64] * 4


def test_constant_runs_have_no_phases():
    objective = TaskObjective(made_task(), name="made", device="cpu")
    assert train(objective).result().phases == ()


def test_micro_batches_stay_while_the_batch_grows(monkeypatch):
    largest: list[int] = []

    def watched(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if output.requires_grad:
            largest.append(len(y))
        return nn.functional.cross_entropy(output, y)

    recipe = Recipe(schedule="doubling", micro_batch_sizes=(8, 8))
    objective = TaskObjective(made_task(loss=watched), name="t", device="cpu", recipe=recipe)
    largest.clear()  # of the look at the loss
    train(objective, batch_size=8, epochs=8)
    assert max(largest) == 8


def noise_of(scale: float) -> Gradients:
    """A gradient of 1 in one direction, of examples with a noise scale that is known."""
    x = torch.randn(4096, 1, generator=torch.Generator().manual_seed(0)) * math.sqrt(scale)
    model = nn.Linear(1, 1, bias=False)
    x = x - x.mean() + 1.0
    return Gradients(model, lambda out, y: out.mean(), Tensors(x, x), device="cpu")


@pytest.mark.parametrize(("scale", "noisy"), [(4.0, False), (16.0, False), (200.0, True)])
def test_the_noise_scale_is_held_against_a_multiple_of_the_batch(scale, noisy):
    size = 32
    assert (scale > MULTIPLE * size) is noisy
    assert is_noisy(noise_of(scale), size, seed=1) is noisy


def test_a_gradient_that_drowns_in_its_noise_is_noisy():
    x = torch.randn(4096, 1, generator=torch.Generator().manual_seed(0))
    gradients = Gradients(
        nn.Linear(1, 1, bias=False),
        lambda out, y: out.mean(),
        Tensors(x - x.mean(), x),
        device="cpu",
    )
    assert is_noisy(gradients, 32, seed=1)


def test_the_noise_scale_makes_a_run_grow_up_to_its_limit():
    objective = growing("noise-scale")
    run = train(objective, batch_size=1, epochs=10, learning_rate=0.02)
    measured = run.result()
    sizes = [phase.batch_size for phase in measured.phases]
    assert len(sizes) > 1
    assert sizes == [2**k for k in range(len(sizes))]
    assert sizes[-1] <= 100 / 8
    assert sum(phase.epochs for phase in measured.phases) == 10
    assert measured.steps == measured.total_steps == sum(p.steps for p in measured.phases)
    assert run.share_done == 1


def test_looking_at_the_noise_disturbs_nothing():
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    data = made_data()
    gradients = Gradients(
        model, nn.functional.cross_entropy, Tensors(data.x_train, data.y_train), device="cpu"
    )
    sizes = BatchSizes(Growth(schedule="noise-scale", length=Length(amount=3, n_train=100)), 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = random_states("cpu")
    of_python = random.getstate()
    sizes.look(1, gradients, seed=3, device="cpu")
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(states["torch"], random_states("cpu")["torch"])
    assert of_python == random.getstate()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_probe_holds_the_batch_size():
    params = TrialParams(batch_size=4, learning_rate=1e-3, epochs=4, seed=0, device="cpu")
    cost = probe(growing("doubling"), params, metric="val_accuracy", seconds=0.05)
    assert cost.total_steps == 4 * 25


def test_time_sums_over_phases(fake: FakeTime):
    """Medians of warm epochs, phase by phase; the first epoch of all is warm-up."""
    run = Run(measure_memory=False)
    with run:
        run.begin(100)
        run.plan([Phase(batch_size=1, epochs=3, steps=6), Phase(batch_size=2, epochs=2, steps=2)])
        for seconds, steps in ((9.0, 2), (4.0, 2), (4.0, 2), (1.0, 1), (1.5, 1)):
            for _ in range(steps):
                fake.pass_by(seconds / steps)
                run.step(0.5)
            run.report(0.5)
    measured = run.result()
    assert measured.train_seconds == pytest.approx(3 * 4.0 + 2 * 1.25)
    assert measured.total_steps == 8
