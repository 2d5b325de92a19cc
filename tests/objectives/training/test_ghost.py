"""Ghost batch norm against torch's own function, chunk by chunk."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.training.ghost import use_ghost_batches
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import Recipe
from tests.objectives.conftest import made_task, train
from tests.objectives.training.test_techniques import assert_close, double_data, trained

SHAPES = [
    (nn.BatchNorm1d, (12, 3)),
    (nn.BatchNorm1d, (12, 3, 5)),
    (nn.BatchNorm2d, (12, 3, 4, 4)),
    (nn.BatchNorm3d, (12, 3, 2, 2, 2)),
]


def ghost_of(norm: nn.Module, size: int) -> nn.Module:
    model = nn.Sequential(norm)
    use_ghost_batches(model, size)
    return model[0]


@pytest.mark.parametrize(("kind", "shape"), SHAPES)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_each_chunk_is_normalised_by_itself_and_enters_the_running_statistics_in_turn(
    kind, shape, momentum
):
    torch.manual_seed(0)
    norm = kind(3, momentum=momentum)
    nn.init.normal_(norm.weight)
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    x = torch.randn(shape) * 3 + 1
    ghost = ghost_of(copy.deepcopy(norm), 4)
    expected = torch.cat([
        batch_norm(part, mean, var, norm.weight, norm.bias, True,
                   momentum or 1 / n, norm.eps)
        for n, part in enumerate(x.split(4), 1)
    ])  # fmt: skip
    assert torch.equal(ghost(x), expected)
    assert torch.equal(ghost.running_mean, mean)
    assert torch.equal(ghost.running_var, var)
    assert ghost.num_batches_tracked == 3


@pytest.mark.parametrize(("n", "size", "parts"), [(10, 4, [4, 3, 3]), (3, 2, [3]), (5, 2, [3, 2])])
def test_a_remainder_makes_chunks_as_equal_as_can_be_and_none_of_a_single_example(n, size, parts):
    x = torch.randn(n, 3)
    found = ghost_of(nn.BatchNorm1d(3), size)(x)
    for part, out in zip(x.split(parts), found.split(parts), strict=True):
        torch.testing.assert_close(out, batch_norm(part, None, None, training=True))


def test_in_evaluation_it_is_ordinary_batch_norm_and_state_dicts_fit_both_ways():
    norm = nn.BatchNorm1d(3)
    ghost = ghost_of(nn.BatchNorm1d(3), 4)
    ghost(torch.randn(16, 3) + 2)
    norm.load_state_dict(ghost.state_dict())
    x = torch.randn(16, 3)
    assert torch.equal(ghost.eval()(x), norm.eval()(x))
    assert ghost_of(norm, 2).weight is norm.weight


def test_a_ghost_as_large_as_the_batch_changes_nothing():
    norm = nn.BatchNorm1d(3)
    x = torch.randn(16, 3)
    assert torch.equal(ghost_of(copy.deepcopy(norm), 16)(x), norm(x))


def test_every_batch_norm_of_a_model_becomes_one_wherever_it_is():
    model = nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))})
    model["b"] = model["a"][1]  # the same one twice
    before = dict(model.named_parameters())
    use_ghost_batches(model, 8)
    assert model["b"].ghost_batch_size == 8
    assert dict(model.named_parameters()).keys() == before.keys()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(2, 3), "has no nn.BatchNorm1d"),
        (nn.SyncBatchNorm(3), "the model has SyncBatchNorm"),
    ],
)
def test_a_model_without_a_batch_norm_to_split_is_refused(model, words):
    with pytest.raises(ObjectiveError, match=words):
        use_ghost_batches(nn.Sequential(model), 4)


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def test_one_example_without_a_variance_is_refused_before_the_search():
    task = made_task(model=normed)
    with pytest.raises(ObjectiveError, match="choose 2 or more"):
        TaskObjective(task, name="t", device="cpu", recipe=Recipe(ghost_batch_size=1))


@pytest.mark.parametrize(
    ("recipe", "facts"),
    [
        (Recipe(ghost_batch_size=8), {"statistics_batch_size": 8}),
        (Recipe(ghost_batch_size=64), {"statistics_batch_size": 32}),
        (
            Recipe(micro_batch_sizes=(16, 16)),
            {"micro_batch_size": 16, "statistics_batch_size": 16, "batch_norm_micro": True},
        ),
        (
            Recipe(micro_batch_sizes=(16, 16), ghost_batch_size=8),
            {"micro_batch_size": 16, "statistics_batch_size": 8},
        ),
        (Recipe(micro_batch_sizes=(64, 64)), {"micro_batch_size": 32}),
        (Recipe(), {}),
    ],
)
def test_a_run_says_how_many_examples_shared_statistics(recipe, facts):
    objective = TaskObjective(made_task(model=normed), name="t", device="cpu", recipe=recipe)
    assert train(objective, batch_size=32, epochs=1).result().techniques == facts


def test_a_model_without_batch_norm_has_no_statistics_to_speak_of():
    objective = load_objective("digits", device="cpu", recipe=Recipe(micro_batch_sizes=(16, 16)))
    assert train(objective, batch_size=64, epochs=1).result().techniques == {"micro_batch_size": 16}
    assert objective.notes == ()


def test_ghost_batches_as_small_as_micro_batches_make_accumulation_exact():
    task = made_task(model=lambda: normed().double(), data=double_data)
    whole = trained(task, Recipe(ghost_batch_size=8))
    accumulated = trained(task, Recipe(ghost_batch_size=8, micro_batch_sizes=(8, 8)))
    assert_close(accumulated, whole)
    with pytest.raises(AssertionError):
        assert_close(trained(task, Recipe(micro_batch_sizes=(8, 8))), trained(task, Recipe()))
