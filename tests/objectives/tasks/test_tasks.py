"""The bundled tasks: real data, fixed splits, and something to learn."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LinearRegression

from batchfront.objectives.load import load_objective
from batchfront.objectives.task import Data
from batchfront.objectives.tasks.bundled import BUNDLED
from batchfront.objectives.tasks.diabetes import diabetes
from batchfront.objectives.tasks.digits import digits, digits_cnn
from batchfront.objectives.tasks.splits import split_60_20_20
from batchfront.objectives.training.identity import data_hash
from tests.objectives.conftest import train

SPLITS = ("train", "val", "test")


def sizes(data: Data) -> list[int]:
    return [len(getattr(data, f"x_{split}")) for split in SPLITS]


@pytest.mark.parametrize("n", [5, 442, 1797])
def test_splits_are_60_20_20_disjoint_and_leave_nobody_out(n):
    numbers = torch.arange(n)
    data = split_60_20_20(numbers, -numbers)
    assert sizes(data) == [n - 2 * (n // 5), n // 5, n // 5]
    seen = torch.cat([getattr(data, f"x_{split}") for split in SPLITS])
    assert torch.equal(seen.sort().values, numbers)
    assert all(torch.equal(getattr(data, f"x_{s}"), -getattr(data, f"y_{s}")) for s in SPLITS)


def test_the_digits_are_scikit_learns_with_their_labels():
    data, bundle = digits().data(), load_digits()
    assert sizes(data) == [1079, 359, 359]
    there = Counter(
        (tuple(16 * row), label) for row, label in zip(bundle.data / 16, bundle.target, strict=True)
    )
    ours = Counter(
        (tuple(16 * x.double().numpy()), int(y))
        for split in SPLITS
        for x, y in zip(getattr(data, f"x_{split}"), getattr(data, f"y_{split}"), strict=True)
    )
    assert ours == there


def test_the_cnn_sees_the_same_digits_as_images():
    flat, images = digits().data(), digits_cnn().data()
    assert images.x_val.shape == (359, 1, 8, 8)
    assert torch.equal(images.x_val.flatten(1), flat.x_val)
    assert torch.equal(images.y_val, flat.y_val)


def test_diabetes_is_standardized_by_its_training_split():
    data, bundle = diabetes().data(), load_diabetes(scaled=False)
    assert sizes(data) == [266, 88, 88]
    for tensor in (data.x_train, data.y_train):
        torch.testing.assert_close(
            tensor.mean(dim=0), torch.zeros(tensor.shape[1]), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(tensor.std(dim=0), torch.ones(tensor.shape[1]))
    raw = split_60_20_20(torch.tensor(bundle.data), torch.tensor(bundle.target)[:, None])
    scale, offset = raw.y_train.std(), raw.y_train.mean()
    torch.testing.assert_close(data.y_test.double() * scale + offset, raw.y_test, rtol=1e-5, atol=0)


def test_splits_are_the_same_for_ever():
    """Values are pinned because studies store them: another one would end every study there is."""
    assert data_hash(digits().data()) == "e4b735a298bca3fd"
    order = split_60_20_20(torch.arange(442), torch.arange(442))
    # Not of the standardized data, whose last bits may differ between processors.
    assert hashlib.sha256(order.x_train.numpy().tobytes()).hexdigest()[:16] == "dce60f5534901d6b"


def test_a_task_makes_its_data_anew_and_alike_every_time():
    for make in (digits, digits_cnn, diabetes):
        assert data_hash(make().data()) == data_hash(make().data())


@pytest.mark.parametrize(("name", "wanted"), [("digits", 0.93), ("digits-cnn", 0.93)])
def test_digits_can_be_learned(name, wanted):
    objective = load_objective(name, device="cpu")
    result = train(objective, batch_size=64, learning_rate=0.1, epochs=10).result()
    assert result.metric > wanted


def test_diabetes_can_be_learned_as_well_as_by_a_linear_model():
    data = diabetes().data()
    linear = LinearRegression().fit(data.x_train, data.y_train).score(data.x_val, data.y_val)
    objective = load_objective("diabetes", device="cpu")
    result = train(objective, batch_size=32, learning_rate=0.01, epochs=20).result()
    assert result.metric > 0.8 * linear > 0.2


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_tasks_are_listed_under_their_own_names(name):
    objective = load_objective(name, device="cpu")
    assert objective.name == objective.task.name == name
