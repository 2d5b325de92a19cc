"""scikit-learn's diabetes data: 442 patients, 10 features, disease progression after one year."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.task import Data, Task, sgd_momentum
from batchfront.objectives.tasks.splits import split_60_20_20

if TYPE_CHECKING:
    from torch import nn


def diabetes() -> Task:
    """Regression by an MLP 10-64-1 with SGD, momentum 0.9; scored by R2."""
    from torch.nn.functional import mse_loss

    return Task(
        name="diabetes",
        data=_data,
        model=_mlp,
        loss=mse_loss,
        optimizer=sgd_momentum,
        metric="r2",
        epochs=20,
    )


def _data() -> Data:
    import torch
    from sklearn.datasets import load_diabetes

    bundle = load_diabetes(scaled=False)
    x = torch.tensor(bundle.data, dtype=torch.float32)  # (442, 10)
    y = torch.tensor(bundle.target, dtype=torch.float32)[:, None]  # (442, 1)
    raw = split_60_20_20(x, y)
    return _standardized(raw)


def _standardized(raw: Data) -> Data:
    """Zero mean and unit variance of the training split, applied to every split."""
    x_mean, x_std = raw.x_train.mean(dim=0), raw.x_train.std(dim=0)
    y_mean, y_std = raw.y_train.mean(), raw.y_train.std()
    parts = {}
    for split in ("train", "val", "test"):
        parts[f"x_{split}"] = (getattr(raw, f"x_{split}") - x_mean) / x_std
        parts[f"y_{split}"] = (getattr(raw, f"y_{split}") - y_mean) / y_std
    return Data(**parts)


def _mlp() -> nn.Module:
    from torch import nn

    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
