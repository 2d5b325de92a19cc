"""Accumulation and activation checkpointing against plain training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.gradients.parts import largest_part, n_parts
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError, TrialParams, Verdict
from batchfront.objectives.parameter import Parameter
from batchfront.objectives.probes.models_after import models_after
from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.objectives.training.recompute import recompute_activations
from batchfront.objectives.training.step import gradient
from tests.objectives.conftest import made_data, made_regression, made_task, train


def doubled(data: Data) -> Data:
    parts = {field.name: getattr(data, field.name) for field in fields(Data)}
    return Data(**{k: v.double() if v.is_floating_point() else v for k, v in parts.items()})


def double_data() -> Data:
    return doubled(made_data())  # 100 examples: a last batch of 4 after three of 32


def trained(task: Task, recipe: Recipe, *, batch_size: int = 32) -> nn.Module:
    """The model after two epochs of our loop."""
    objective = TaskObjective(task, name="t", device="cpu", recipe=recipe)
    params = TrialParams(batch_size=batch_size, learning_rate=0.02, epochs=2, seed=3, device="cpu")
    [(_, model, _)] = models_after(objective, params, [2])
    return model


def assert_close(a: nn.Module, b: nn.Module) -> None:
    """The same weights, but for the order in which numbers were added up."""
    for (name, x), y in zip(a.named_parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12, msg=name)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(),
        nn.Flatten(), nn.Linear(48, 3),
    )  # fmt: skip


class Encoder(nn.Module):
    """Attention over 3 tokens of 4 features."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout, batch_first=True)
        self.encode = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, 12) -> (B, 3)
        return self.head(self.encode(x.unflatten(1, (3, 4))).mean(dim=1))


@pytest.mark.parametrize("build", [mlp, cnn, Encoder])
@pytest.mark.parametrize(
    ("n", "micro"), [(32, 8), (29, 8), (7, 4), (3, 2), (5, 1), (48, 24), (31, 12)]
)
def test_the_accumulated_gradient_is_the_direct_one(build, n, micro):
    torch.manual_seed(n)
    model = build().double()
    x, y = torch.randn(n, 12, dtype=torch.float64), torch.randint(3, (n,))
    loss = nn.functional.cross_entropy(model(x), y)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    recipe = Recipe(micro_batch_sizes=(micro, micro))
    found = gradient(model, nn.functional.cross_entropy, x, y, recipe=recipe, device="cpu")
    torch.testing.assert_close(found, loss.detach(), rtol=1e-12, atol=0)
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_a_whole_run_ends_at_the_same_weights_with_and_without_accumulation(optimizer, kind):
    make = made_task if kind == "classes" else made_regression
    model = partial(_double, make().model)
    task = make(data=lambda: doubled(made_data(targets=kind)), model=model, optimizer=optimizer)
    accumulated = trained(task, Recipe(micro_batch_sizes=(8, 8)))
    assert_close(accumulated, trained(task, PLAIN))


def _double(build: Callable[[], nn.Module]) -> nn.Module:
    return build().double()


def test_a_micro_batch_as_large_as_the_batch_is_the_plain_step_bit_for_bit():
    plain = trained(made_task(), PLAIN, batch_size=16)
    same = trained(made_task(), Recipe(micro_batch_sizes=(16, 16)), batch_size=16)
    for a, b in zip(plain.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 31, 33])
@pytest.mark.parametrize("most", [1, 2, 3, 8, 16])
def test_parts_cover_the_batch_and_no_part_is_a_single_example_unless_asked(n, most):
    sizes = [len(part) for part in torch.arange(n).tensor_split(n_parts(n, most))]
    assert sum(sizes) == n
    assert max(sizes) == largest_part(n, most) <= most + (most == 2)
    assert min(sizes) > 1 or most == 1 or n == 1


def test_memory_of_a_step_follows_the_micro_batch_and_not_the_batch(digits):
    def peak(micro: int, batch_size: int) -> int:
        objective = load_objective("digits", device="cpu", recipe=Recipe(
            micro_batch_sizes=(micro, micro)))  # fmt: skip
        return train(objective, batch_size=batch_size, epochs=1).result().peak_memory_bytes

    assert peak(16, 256) == pytest.approx(peak(16, 64), rel=0.01)
    whole = train(digits, batch_size=256, epochs=1).result().peak_memory_bytes
    assert peak(16, 256) < peak(64, 256) < whole


RECIPES = {
    "micro": Recipe(micro_batch_sizes=(8, 8)),
    "bfloat16": Recipe(precisions=("bfloat16",)),
    "float16": Recipe(precisions=("float16",)),
    "checkpointed": Recipe(checkpoint_activations=True),
    "ghost": Recipe(ghost_batch_size=8),
    "searched": Recipe(micro_batch_sizes=(4, 16), precisions=("bfloat16", "float32")),
    "all": Recipe(
        micro_batch_sizes=(16, 16), precisions=("bfloat16",), ghost_batch_size=4,
        checkpoint_activations=True,
    ),
}  # fmt: skip


def normed_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_predicted_memory_is_what_is_measured(name):
    task = _digits_cnn(model=normed_cnn)
    objective = TaskObjective(task, name="t", device="cpu", recipe=RECIPES[name])
    usual = {name: parameter.probed for name, parameter in objective.search.items()}
    measured = train(objective, batch_size=64, epochs=1, extra=usual).result().peak_memory_bytes
    assert objective.predict_peak_bytes(64) == pytest.approx(measured, rel=0.001)


def _digits_cnn(**changes: Any) -> Task:
    from batchfront.objectives.tasks.digits import digits_cnn

    return replace(digits_cnn(), **changes)


class Blocks(nn.Module):
    """Residual blocks in a list, and layers outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 16)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.3)) for _ in range(3)
        )
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, 12) -> (B, 3)
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def deep() -> nn.Module:
    layer = [nn.Linear(12, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2)]
    layers = [copy.deepcopy(one) for _ in range(4) for one in layer]
    layers[1].momentum = None  # a mean of all batches, by their number
    return nn.Sequential(*layers, nn.Linear(12, 3))


@pytest.mark.parametrize("build", [deep, Blocks, partial(Encoder, 0.2), cnn])
def test_gradients_and_statistics_of_a_model_that_forgets_are_the_same_bit_for_bit(build):
    torch.manual_seed(0)
    model = build()
    forgetful = copy.deepcopy(model)
    recompute_activations(forgetful)
    assert list(forgetful.state_dict()) == list(model.state_dict())
    x, y = torch.randn(20, 12), torch.randint(3, (20,))
    for one in (model, forgetful):
        torch.manual_seed(1)  # of dropout
        for _ in range(2):
            nn.functional.cross_entropy(one(x), y).backward()
    for (name, a), b in zip(model.named_parameters(), forgetful.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name
    for name, value in model.state_dict().items():
        assert torch.equal(forgetful.state_dict()[name], value), name
    assert torch.equal(forgetful.eval()(x), model.eval()(x))


def test_a_deep_model_that_forgets_needs_less_memory():
    def peak(recipe: Recipe) -> int:
        model = lambda: nn.Sequential(*[nn.Sequential(nn.Linear(5, 5), nn.Tanh())] * 16,  # noqa: E731
                                      nn.Linear(5, 3))  # fmt: skip
        objective = TaskObjective(made_task(model=model), name="t", device="cpu", recipe=recipe)
        return train(objective, batch_size=64, epochs=2).result().peak_memory_bytes

    assert peak(Recipe(checkpoint_activations=True)) < 0.6 * peak(PLAIN)


def test_a_model_without_containers_cannot_forget():
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x).relu())

    with pytest.raises(ObjectiveError, match="this model has neither"):
        TaskObjective(
            made_task(model=Bare), name="t", device="cpu",
            recipe=Recipe(checkpoint_activations=True),
        )  # fmt: skip


def test_diagnostics_of_a_run_with_every_technique_are_those_of_its_weights():
    objective = TaskObjective(
        made_task(model=deep_of_five), name="t", device="cpu", recipe=RECIPES["all"]
    )
    run = train(objective, diagnostics=("distance", "sharpness"))
    measured = run.result()
    assert measured.weight_norm > measured.distance_from_init > 0
    assert measured.sharpness >= 0


def deep_of_five() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def test_a_task_that_searches_a_parameter_of_the_same_name_keeps_it():
    def model(precision: str) -> nn.Module:
        return nn.Linear(5, 3, bias=precision == "low")

    search = {"precision": Parameter(choices=("low", "high"))}
    task = made_task(model=model, search=search)
    objective = TaskObjective(task, name="t", device="cpu")
    measured = train(objective, extra={"precision": "high"}).result()
    assert measured.verdict is Verdict.COMPLETED
    assert measured.techniques == {}
    recipe = Recipe(precisions=("float32", "bfloat16"))
    with pytest.raises(ObjectiveError, match="'precision' of its own"):
        TaskObjective(task, name="t", device="cpu", recipe=recipe)
