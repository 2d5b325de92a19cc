"""Small tasks on data that comes with scikit-learn: what the recorded tables were trained on.

batchfront record --task benchmarks/tasks.py:digits_adam -o benchmarks/tables/…
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import (
    load_breast_cancer,
    load_wine,
    make_circles,
    make_classification,
    make_friedman1,
    make_friedman2,
    make_gaussian_quantiles,
    make_hastie_10_2,
    make_moons,
    make_swiss_roll,
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
    return _regression("friedman", x, y, optimizer=torch.optim.AdamW, epochs=20)


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


def hastie_nesterov() -> Task:
    """Whether ten Gaussians are further out than usual, with Nesterov's momentum and batch norm."""
    x, y = make_hastie_10_2(n_samples=1500, random_state=0)
    task = _classifier(
        "hastie",
        {"data": x, "target": (y > 0).astype(int)},
        n_val=300,
        optimizer=partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        epochs=25,
    )
    layers: Callable[[], nn.Module] = lambda: nn.Sequential(  # noqa: E731
        nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 2)
    )
    return replace(task, model=layers)


def impedance_rmsprop() -> Task:
    """A made-up regression, Friedman's second, scored by R2; inputs of four magnitudes."""
    x, y = make_friedman2(n_samples=1500, noise=100.0, random_state=0)
    return _regression("impedance", x, y, optimizer=torch.optim.RMSprop, epochs=20)


def rolls_adamw() -> Task:
    """Where on a rolled sheet a point lies, in five parts; 40 epochs."""
    x, along = make_swiss_roll(n_samples=1500, noise=0.6, random_state=0)
    fifths = np.searchsorted(np.quantile(along, [0.2, 0.4, 0.6, 0.8]), along)
    bundle = {"data": x, "target": fifths}
    return _classifier("rolls", bundle, n_val=300, optimizer=torch.optim.AdamW, epochs=40)


def _regression(
    name: str,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    optimizer: Callable[..., torch.optim.Optimizer],
    epochs: int,
) -> Task:
    """An MLP with 64 hidden units on standardized features and targets."""
    targets = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None]
    return Task(
        name=name,
        data=lambda: _split(torch.tensor(x, dtype=torch.float32), targets, n_val=300),
        model=lambda: nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 1)),
        loss=mse_loss,
        optimizer=optimizer,
        metric="r2",
        epochs=epochs,
    )


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
