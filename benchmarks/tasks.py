"""Small tasks on data that comes with scikit-learn: what the recorded tables were trained on.

batchfront record --task benchmarks/tasks.py:digits_adam -o benchmarks/tables/…
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from sklearn.datasets import (
    load_breast_cancer,
    load_wine,
    make_circles,
    make_classification,
    make_friedman1,
    make_gaussian_quantiles,
    make_moons,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from batchfront.objectives.task import Data, Task, sgd_momentum
from batchfront.objectives.tasks import diabetes as diabetes_module
from batchfront.objectives.tasks import digits as digits_module


def digits_adam() -> Task:
    """The bundled MLP with Adam."""
    return replace(digits_module.digits(), optimizer=torch.optim.Adam)


def digits_cnn_adam() -> Task:
    """The bundled CNN with Adam, for 8 epochs."""
    return replace(digits_module.digits_cnn(), optimizer=torch.optim.Adam, epochs=8)


def digits_cnn_sgd() -> Task:
    """The bundled CNN, for 10 epochs."""
    return replace(digits_module.digits_cnn(), epochs=10)


def diabetes_sgd() -> Task:
    """The bundled regression."""
    return diabetes_module.diabetes()


def diabetes_adam() -> Task:
    """The bundled regression with Adam, for 10 epochs."""
    return replace(diabetes_module.diabetes(), optimizer=torch.optim.Adam, epochs=10)


def breast_cancer_adam() -> Task:
    """569 tumours; a validation set of 40, on which most runs nearly tie."""
    bundle = load_breast_cancer()
    return _classifier("breast-cancer", bundle, n_val=40, optimizer=torch.optim.Adam, epochs=10)


def wine_sgd() -> Task:
    """178 wines; a validation set of 35, on which most runs nearly tie."""
    return _classifier("wine", load_wine(), n_val=35, optimizer=sgd_momentum, epochs=15)


def noisy_adamw() -> Task:
    """A made-up problem, a tenth of its labels wrong: large models and long runs overfit."""
    x, y = make_classification(
        n_samples=1500, n_features=20, n_informative=10, n_classes=4, flip_y=0.1, random_state=0
    )
    bundle = {"data": x, "target": y}
    optimizer = partial(torch.optim.AdamW, weight_decay=0.01)
    return _classifier("noisy", bundle, n_val=300, optimizer=optimizer, epochs=30)


def digits_rmsprop() -> Task:
    """The bundled MLP with RMSprop."""
    return replace(digits_module.digits(), optimizer=torch.optim.RMSprop)


def moons_sgd() -> Task:
    """Two half moons with noise, 25 epochs."""
    x, y = make_moons(n_samples=1500, noise=0.25, random_state=0)
    return _classifier(
        "moons", {"data": x, "target": y}, n_val=300, optimizer=sgd_momentum, epochs=25
    )


def friedman_adamw() -> Task:
    """A made-up regression, Friedman's first, scored by R2."""
    x, y = make_friedman1(n_samples=1500, noise=1.0, random_state=0)
    targets = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None]
    return Task(
        name="friedman",
        data=lambda: _split(torch.tensor(x, dtype=torch.float32), targets, n_val=300),
        model=lambda: nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1)),
        loss=mse_loss,
        optimizer=torch.optim.AdamW,
        metric="r2",
        epochs=20,
    )


def quantiles_nadam() -> Task:
    """Three shells of a Gaussian in ten dimensions, with NAdam."""
    x, y = make_gaussian_quantiles(n_samples=1500, n_features=10, n_classes=3, random_state=0)
    bundle = {"data": x, "target": y}
    return _classifier("quantiles", bundle, n_val=300, optimizer=torch.optim.NAdam, epochs=15)


def digits_adagrad() -> Task:
    """The bundled MLP with Adagrad, for 12 epochs."""
    return replace(digits_module.digits(), optimizer=torch.optim.Adagrad, epochs=12)


def circles_sgd() -> Task:
    """Two noisy circles, plain SGD, 30 epochs."""
    x, y = make_circles(n_samples=1200, noise=0.15, factor=0.5, random_state=0)
    bundle = {"data": x, "target": y}
    return _classifier("circles", bundle, n_val=250, optimizer=torch.optim.SGD, epochs=30)


def _classifier(
    name: str,
    bundle: Any,
    *,
    n_val: int,
    optimizer: Callable[..., torch.optim.Optimizer],
    epochs: int,
) -> Task:
    """An MLP with 64 hidden units on standardized features."""
    x = torch.tensor(bundle["data"], dtype=torch.float32)  # (N, D)
    y = torch.tensor(bundle["target"], dtype=torch.int64)  # (N,)
    n_classes = int(y.max()) + 1
    return Task(
        name=name,
        data=lambda: _split(x, y, n_val=n_val),
        model=lambda: nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, n_classes)),
        loss=cross_entropy,
        optimizer=optimizer,
        epochs=epochs,
    )


def _split(x: Tensor, y: Tensor, *, n_val: int) -> Data:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, val, test = order.split([len(x) - 2 * n_val, n_val, n_val])
    x = (x - x[train].mean(dim=0)) / x[train].std(dim=0)
    return Data(
        x_train=x[train], y_train=y[train],
        x_val=x[val], y_val=y[val],
        x_test=x[test], y_test=y[test],
    )  # fmt: skip
