"""Small tasks whose healthy runs start far above the constant predictor's loss, or jump about it.

They are what the divergence guard is judged on besides benchmarks/tasks.py: data as it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from sklearn.datasets import load_diabetes, make_classification
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, mse_loss

from batchfront.objectives.task import Data, Task, sgd_momentum
from batchfront.objectives.tasks import digits as digits_module
from batchfront.objectives.tasks.splits import split_60_20_20
from benchmarks import tasks


def kelvin_adam() -> Task:
    """A made-up temperature of 290 +- 8: the first loss is a thousand times the variance."""
    x = torch.randn(900, 8, generator=_seeded(0))
    weights = torch.randn(8, 1, generator=_seeded(1))
    noise = 0.1 * torch.randn(900, 1, generator=_seeded(2))
    y = 290 + 8 * (torch.tanh(x @ weights) + noise)
    return _regression("kelvin", x, y, epochs=40)


def diabetes_raw_adam() -> Task:
    """Diabetes with its targets as they are, 25 to 346."""
    bundle = load_diabetes()
    x = torch.tensor(bundle.data, dtype=torch.float32)
    y = torch.tensor(bundle.target, dtype=torch.float32)[:, None]
    return _regression("diabetes-raw", x / x.std(dim=0), y, epochs=30)


def claims_adamw() -> Task:
    """Made-up claims: lognormal targets, so that a few examples are nearly all of the loss."""
    x = torch.randn(1500, 8, generator=_seeded(0))
    weights = torch.randn(8, 1, generator=_seeded(1)) / 8**0.5
    noise = 0.3 * torch.randn(1500, 1, generator=_seeded(2))
    y = torch.exp(1.5 * (x @ weights) + noise)
    return replace(_regression("claims", x, y, epochs=20), optimizer=torch.optim.AdamW)


def rare_class_adam() -> Task:
    """One example in a hundred is positive: not to know costs ln 2, to know the shares 0.058.

    Scored by the R2 of the probabilities (the Brier skill), since accuracy hardly tells anything.
    """
    x, y = make_classification(
        n_samples=4200, n_features=20, n_informative=10, weights=[0.99], flip_y=0, class_sep=1.5,
        random_state=0,
    )  # fmt: skip
    inputs, targets = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    parts = {}
    for split, part in {
        "train": slice(1600),
        "val": slice(1600, 3200),
        "test": slice(3200, None),
    }.items():
        parts |= {f"x_{split}": inputs[part], f"y_{split}": targets[part, None]}
    return Task(
        name="rare-class",
        data=lambda: Data(**parts),
        model=lambda: nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid()),
        loss=binary_cross_entropy,
        optimizer=torch.optim.Adam,
        metric="r2",
        epochs=20,
    )


def pixels_sgd() -> Task:
    """The bundled digits with pixels of 0 to 255."""
    plain = digits_module.digits()
    return replace(plain, name="pixels", data=lambda: _brightened(plain.data()))


def pixels_warm_up_adam() -> Task:
    """The same with Adam; the benchmark lets its rate rise over 30% of the run."""
    return replace(pixels_sgd(), name="pixels-warm-up", optimizer=torch.optim.Adam)


def shells_batch_norm() -> Task:
    """Shells of a Gaussian, with batch norm: at small batches its noise is most of the loss."""
    layers: Callable[[], nn.Module] = lambda: nn.Sequential(  # noqa: E731
        nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3)
    )
    return replace(tasks.quantiles_nadam(), model=layers, optimizer=sgd_momentum)


def noisy_dropout() -> Task:
    """Noisy labels, and nine of ten units dropped while it trains."""
    layers: Callable[[], nn.Module] = lambda: nn.Sequential(  # noqa: E731
        nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.9), nn.Linear(64, 4)
    )
    return replace(tasks.noisy_adamw(), model=layers, optimizer=sgd_momentum)


def _brightened(data: Data) -> Data:
    changed: dict[str, Any] = {f"x_{s}": 255 * getattr(data, f"x_{s}") for s in ("train", "val")}
    return replace(data, x_test=255 * data.x_test, **changed)


def _regression(name: str, x: Tensor, y: Tensor, *, epochs: int) -> Task:
    data = split_60_20_20(x, y)
    return Task(
        name=name,
        data=lambda: data,
        model=lambda: nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 1)),
        loss=mse_loss,
        optimizer=torch.optim.Adam,
        metric="r2",
        epochs=epochs,
    )


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
