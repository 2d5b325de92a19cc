"""Gradient noise scale: known noise, oracles for the gradients, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import batchfront.objectives.gradients.draws
from batchfront.objectives.gradients.draws import Gradients
from batchfront.objectives.gradients.noise_scale import (
    Draw,
    Moments,
    measure_per_example,
    measure_two_sizes,
    noise_scale,
    norm_moments,
    per_example,
    two_sizes,
)
from batchfront.objectives.loading.examples import Tensors
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.probes.models_after import models_after
from tests.objectives.conftest import made_data, made_task, ready, train

TRUTH = 100.0  # tr(Sigma) / |G|^2
WIDTH = 50  # parameters of synthetic gradients


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nobody(n: int) -> None:
    pass


def synthetic(n: int = 20_000) -> Gradients:
    """A model whose gradient for one example is that example: |G| = 1 and tr(Sigma) = 100."""
    mean = torch.full((WIDTH,), WIDTH**-0.5)
    noise = torch.randn(n, WIDTH, generator=generator(1)) * math.sqrt(TRUTH / WIDTH)
    noise -= noise.mean(dim=0)
    noise *= math.sqrt(TRUTH / float(noise.square().sum(dim=1).mean()))
    linear = nn.Linear(WIDTH, 1, bias=False)
    return Gradients(
        linear, lambda out, _: out.mean(), Tensors(mean + noise, torch.zeros(n)), device="cpu"
    )


def gradients_of(model: nn.Module, **data: Any) -> Gradients:
    split = made_data(**data)
    loss = nn.functional.cross_entropy
    return Gradients(model, loss, Tensors(split.x_train, split.y_train), device="cpu")


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("measure", [measure_two_sizes, measure_per_example])
def test_a_known_noise_scale_is_found(measure):
    draws = measure(synthetic(), n_draws=300, generator=generator(), watch=nobody)
    found = noise_scale(draws, method="either")
    assert found.scale == pytest.approx(TRUTH, rel=0.1)
    assert found.low < TRUTH < found.high
    assert found.trace == pytest.approx(100, rel=0.1)
    assert found.square == pytest.approx(1, rel=0.1)


def simulated(rng: np.random.Generator, method: str, n_draws: int = 100) -> list[Draw]:
    """Draws of gradients that are normal around one of length 1."""
    mean = np.full(WIDTH, WIDTH**-0.5)
    sd = math.sqrt(TRUTH / WIDTH)
    if method == "two_sizes":
        small, large = (
            np.square(mean + sd / math.sqrt(b) * rng.standard_normal((n_draws, WIDTH))).sum(axis=1)
            for b in (8, 256)
        )
        return [two_sizes(a, b, sizes=(8, 256)) for a, b in zip(small, large, strict=True)]
    each = mean + sd * rng.standard_normal((n_draws, 64, WIDTH))
    squares = np.square(each).sum(axis=2).mean(axis=1)
    of_mean = np.square(each.mean(axis=1)).sum(axis=1)
    return [per_example(a, b, n=64) for a, b in zip(squares, of_mean, strict=True)]


@pytest.mark.parametrize("method", ["two_sizes", "per_example"])
def test_intervals_cover_the_known_noise_scale(method):
    covered, scales = 0, []
    for seed in range(100):
        found = noise_scale(simulated(np.random.default_rng(seed), method), method=method)
        assert found.scale is not None
        covered += found.low <= TRUTH <= found.high
        scales.append(found.scale)
    assert covered >= 88
    assert np.median(scales) == pytest.approx(TRUTH, rel=0.05)


def test_estimates_are_ratios_of_means():
    draws = [Draw(trace=90.0, square=0.5), Draw(trace=110.0, square=1.5)]
    assert noise_scale(draws, method="either").scale == 100.0


def test_a_gradient_lost_in_noise_is_refused_and_not_clipped():
    rng = np.random.default_rng(0)
    pure = [two_sizes(*rng.chisquare(9, 2) / (8, 512), sizes=(8, 512)) for _ in range(30)]
    found = noise_scale(pure, method="two_sizes")
    assert found.scale is None
    assert found.low is None
    assert "more draws" in found.reason
    assert found.square_low <= 0 <= found.square_high


@pytest.mark.parametrize("chunk_bytes", [1, 2**26])
def test_per_example_norms_are_those_of_a_loop(monkeypatch, chunk_bytes):
    monkeypatch.setattr(batchfront.objectives.gradients.draws, "CHUNK_BYTES", chunk_bytes)
    model = made_task().model()
    gradients = gradients_of(model)
    indices = torch.tensor([3, 3, 14, 15, 92])
    each = []
    for i in indices:
        model.zero_grad()
        x, y = gradients._batch(i[None])
        nn.functional.cross_entropy(model(x), y).backward()
        each.append(flat(model))
    found = gradients.of_examples(indices)
    stacked = torch.stack(each)
    assert found.mean_square == pytest.approx(float(stacked.square().sum(1).mean()), rel=1e-5)
    assert found.square_of_mean == pytest.approx(float(stacked.mean(0).square().sum()), rel=1e-5)
    assert gradients.square(indices) == pytest.approx(found.square_of_mean, rel=1e-5)


def test_batches_are_drawn_with_replacement():
    gradients = gradients_of(made_task().model())
    indices = gradients.draw(gradients.n_train, generator())
    assert len(set(indices.tolist())) < gradients.n_train


def test_both_estimators_agree_with_the_whole_training_split_of_digits(digits):
    params = TrialParams(batch_size=64, learning_rate=0.05, epochs=2, seed=3, device="cpu")
    for _, model, _ in models_after(digits, params, (0, 2)):
        gradients = digits.gradients(model)
        n = gradients.n_train
        whole = gradients.of_examples(torch.arange(n))
        truth = (whole.mean_square - whole.square_of_mean) / whole.square_of_mean
        given: dict[str, Any] = {"n_draws": 60, "generator": generator(5), "watch": nobody}
        two = noise_scale(measure_two_sizes(gradients, **given), method="two_sizes")
        each = noise_scale(measure_per_example(gradients, **given), method="per_example")
        assert two.low < truth < two.high
        assert each.scale == pytest.approx(truth, rel=0.1)
        assert max(two.low, each.low) < min(two.high, each.high)


def test_models_are_those_of_the_trial_with_the_same_parameters():
    objective = ready(made_task())
    params = TrialParams(batch_size=16, learning_rate=0.05, epochs=3, seed=1, device="cpu")
    curve = train(objective, epochs=3).curve
    found = {
        epoch: (model, val) for epoch, model, val in models_after(objective, params, (3, 0, 1))
    }
    torch.manual_seed(1)
    fresh = objective.task.model()
    for a, b in zip(fresh.parameters(), found[0][0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert found[0][1] is None
    data = objective._source.look
    for epoch in (1, 3):
        model, val = found[epoch]
        assert objective.score(model, Tensors(data.x_val, data.y_val)) == val == curve[epoch - 1]


def test_a_run_that_diverges_says_so():
    objective = ready(made_task())
    params = TrialParams(batch_size=4, learning_rate=1e6, epochs=3, seed=1, device="cpu")
    with pytest.raises(ObjectiveError, match="choose another learning rate"):
        list(models_after(objective, params, (0, 3)))


@pytest.mark.parametrize(
    ("layer", "coupled"),
    [(nn.BatchNorm1d(16), True), (nn.Dropout(0.5), False), (nn.LayerNorm(16), False)],
)
def test_examples_that_influence_each_other_are_found(layer, coupled):
    model = nn.Sequential(nn.Linear(5, 16), layer, nn.ReLU(), nn.Linear(16, 3))
    gradients = gradients_of(model)
    assert bool(gradients.coupled()) == coupled
    assert layer.training
    given: dict[str, Any] = {"n_draws": 3, "generator": generator(), "watch": nobody}
    assert len(measure_two_sizes(gradients, **given)) == 3
    if not coupled:
        assert measure_per_example(gradients, **given)[0].trace > 0


def test_a_loss_that_is_no_mean_over_examples_is_found():
    split = made_data()
    model = made_task().model()
    weights = torch.tensor([1.0, 5.0, 25.0])
    loss = nn.CrossEntropyLoss(weight=weights)
    gradients = Gradients(model, loss, Tensors(split.x_train, split.y_train), device="cpu")
    assert "not the mean" in gradients.coupled()


def test_moments_are_those_of_numpy():
    values = np.random.default_rng(0).normal(1e6, 1.0, 100)
    moments = Moments()
    for value in values:
        moments.add(value)
    assert moments.mean == pytest.approx(values.mean())
    assert moments.sd == pytest.approx(values.std(ddof=1), rel=1e-6)


def test_norms_fall_with_the_batch_size_as_the_noise_does():
    found = norm_moments(
        synthetic(), (1, 16, 512), n_draws=200, generator=generator(), watch=nobody
    )
    for size, moments in found.items():
        mean_square = moments.mean**2 + moments.sd**2
        assert mean_square == pytest.approx(1 + TRUTH / size, rel=0.1)
