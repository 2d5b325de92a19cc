"""What is refused before a search, and what identifies a task."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, r2_score
from torch import nn

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.task import Data, Task, sgd_momentum
from batchfront.objectives.training.baseline import baseline
from batchfront.objectives.training.checks import check_data, check_forward, check_task
from batchfront.objectives.training.identity import (
    data_hash,
    fingerprint,
    function_name,
    optimizer_name,
)
from tests.objectives.conftest import made_data, made_regression, made_task

TENSORS = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test")


def changed(**changes: Any) -> Data:
    return Data(**{**vars(made_data()), **changes})


def holed(value: float) -> torch.Tensor:
    x = made_data().x_train.clone()
    x[3, 1] = x[8, 0] = value
    return x


def refusal(check: Callable[..., None], *args: Any, **options: Any) -> str:
    """What a check says; nothing when it lets pass."""
    try:
        check(*args, **options)
    except ObjectiveError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("targets", ["classes", "numbers"])
def test_good_data_passes(targets):
    assert refusal(check_data, made_data(targets=targets), task="mine") == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (changed(x_val=torch.zeros(7, 5)), r"x_val has shape \(7, 5\) and y_val \(30,\)"),
        (changed(y_test=torch.zeros(7)), "x_test has shape"),
        (changed(x_val=torch.zeros(0, 5), y_val=torch.zeros(0)), "at least one"),
        (changed(y_train=torch.tensor(1)), r"y_train \(\)"),
        (changed(x_train=holed(float("nan"))), "x_train has 2 NaN or infinite values: clean"),
        (changed(x_train=holed(float("-inf"))), "x_train has 2 NaN or infinite values"),
        (changed(y_val=torch.full((30,), torch.inf)), "y_val has 30 NaN"),
        (changed(x_test=np.zeros((30, 5))), "x_test is ndarray, wanted a torch.Tensor"),
        (changed(y_train=None), "y_train is NoneType"),
        ((torch.zeros(3), torch.zeros(3)), r"data\(\) returned tuple, wanted Data"),
    ],
)
def test_bad_data_is_refused_with_what_is_wrong(data, said):
    found = refusal(check_data, data, task="mine")
    assert re.search(f"task 'mine': {said}|task 'mine'.*{said}", found)


def forward(task: Task) -> str:
    """What is said against its model."""
    return refusal(check_forward, task, task.model(), task.data())


@pytest.mark.parametrize("make", [made_task, made_regression])
def test_a_model_that_fits_passes(make):
    assert forward(make()) == ""


def test_a_single_example_is_enough_to_check_with():
    assert forward(made_task(data=lambda: made_data((1, 1, 1)))) == ""


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (made_regression(model=lambda: nn.Linear(5, 1)), r"shape \(2, 1\) for targets.*\(2, 2\)"),
        (made_task(model=lambda: nn.Sequential(nn.Linear(5, 1), nn.Flatten(0))), r"found \(2,\)"),
        (made_task(data=lambda: made_data(targets="numbers")), r"float32 \(2, 2\)"),
        (made_task(loss=lambda o, y: nn.functional.cross_entropy(o, y).item()), "scalar tensor"),
        (made_task(loss=partial(nn.functional.cross_entropy, reduction="none")), "scalar tensor"),
        (
            made_task(
                data=lambda: changed(y_train=made_data().y_train[:, None]),
                loss=lambda o, y: nn.functional.cross_entropy(o, y[:, 0]),
            ),
            r"int64 \(2, 1\)",
        ),
    ],
    ids=["r2-shape", "no-classes", "float-classes", "float-loss", "loss-per-example", "column"],
)
def test_a_model_that_does_not_fit_is_refused_with_what_is_wrong(task, said):
    assert re.search(f"task 'made': .*{said}", forward(task))


@pytest.mark.parametrize("name", TENSORS)
def test_one_changed_element_changes_the_hash_of_the_data(name):
    tensor = getattr(made_data(), name).clone()
    tensor.view(-1)[-1] += 1
    assert data_hash(changed(**{name: tensor})) != data_hash(made_data())


@pytest.mark.parametrize(
    "change",
    [{"x_val": made_data().x_val.double()}, {"x_val": made_data().x_val.view(15, 10)}],
    ids=["type", "shape"],
)
def test_types_and_shapes_are_part_of_the_hash(change):
    assert data_hash(changed(**change)) != data_hash(made_data())


def test_the_same_values_in_another_layout_are_the_same_data():
    transposed = made_data().x_train.t().contiguous().t()
    assert not transposed.is_contiguous()
    assert data_hash(changed(x_train=transposed)) == data_hash(made_data())


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (torch.optim.Adam, "Adam()"),
        (sgd_momentum, "SGD(momentum=0.9)"),
        (partial(torch.optim.SGD, nesterov=True, momentum=0.8), "SGD(momentum=0.8, nesterov=True)"),
        (partial(torch.optim.AdamW, betas=(0.8, 0.9)), "AdamW(betas=(0.8, 0.9))"),
        (partial(torch.optim.Adam, fused=True), "Adam()"),  # how it is computed, not what
    ],
)
def test_an_optimizer_is_named_with_what_differs_from_its_defaults(optimizer, name):
    assert optimizer_name(made_task(optimizer=optimizer), nn.Linear(2, 2)) == name


def tanh() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))


class OwnLoss:
    def __call__(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, y)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (nn.functional.cross_entropy, "cross_entropy"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), "CrossEntropyLoss()"),
        (partial(nn.functional.cross_entropy, label_smoothing=0.1), "cross_entropy(label_smooth"),
        (OwnLoss(), "<tests.objectives.test_task.OwnLoss object>"),
        (partial(OwnLoss(), OwnLoss()), "<tests.objectives.test_task.OwnLoss object>(<tests"),
        (OwnLoss().__call__, "OwnLoss.__call__"),
    ],
)
def test_a_loss_is_named_the_same_in_every_process(loss, name):
    assert function_name(loss).startswith(name)
    assert "0x" not in function_name(loss)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "val_top5"}, "metric is 'val_top5', which our loop cannot compute"),
        ({"epochs": 0}, "epochs is 0, wanted at least 1"),
        ({"epochs": 2.5}, "epochs is 2.5"),
    ],
)
def test_settings_that_no_run_could_use_are_refused(change, said):
    with pytest.raises(ObjectiveError, match=f"task 'made': {said}"):
        check_task(made_task(**change))


def test_the_fingerprint_tells_data_model_and_optimizer_apart():
    def of(**changes: Any) -> dict[str, str]:
        task = made_task(**changes)
        return fingerprint(task, task.model(), data_hash(task.data()))

    def differing(**changes: Any) -> set[str]:
        one, other = of(), of(**changes)
        return {key for key in one if one[key] != other[key]}

    assert differing() == set()  # though every model has its own random weights
    assert differing(model=lambda: nn.Linear(5, 3)) == {"model", "architecture"}
    assert differing(model=tanh) == {"architecture"}
    assert differing(loss=nn.CrossEntropyLoss()) == {"loss"}
    assert differing(optimizer=torch.optim.Adam) == {"optimizer"}
    assert differing(data=lambda: made_data((99, 30, 30))) == {"data"}


def test_the_baseline_of_classes_is_that_of_scikit_learns_prior():
    data = made_data()
    prior = DummyClassifier(strategy="prior").fit(data.x_train, data.y_train)
    loss, metric = baseline(made_task(), nn.Linear(5, 3), data)
    assert loss == pytest.approx(log_loss(data.y_train, prior.predict_proba(data.x_train)))
    assert metric == pytest.approx(accuracy_score(data.y_train, prior.predict(data.x_train)))


def test_a_class_without_examples_changes_no_baseline():
    with_spare, without = (baseline(made_task(), nn.Linear(5, n), made_data()) for n in (4, 3))
    assert with_spare == pytest.approx(without, abs=1e-6)


@pytest.mark.parametrize("n_targets", [0, 1, 2], ids=["flat", "one", "two"])
def test_the_baseline_of_targets_is_that_of_scikit_learns_mean(n_targets):
    y = 3 + 2 * torch.randn((100, n_targets) if n_targets else (100,))
    data = changed(y_train=y)
    constant = DummyRegressor().fit(data.x_train, y).predict(data.x_train)
    loss, metric = baseline(made_regression(), nn.Linear(5, 2), data)
    assert loss == pytest.approx(mean_squared_error(y, constant), rel=1e-5)
    assert loss == pytest.approx(y.var(dim=0, correction=0).mean().item(), rel=1e-5)
    assert metric == pytest.approx(r2_score(y, constant), abs=1e-6)
