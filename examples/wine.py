"""Bring your own model and data: a `Task`, trained by batchfront's loop.

    make study TASK=examples/wine.py

scikit-learn's wine data: 178 wines, 13 measurements, 3 growers.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_wine
from torch import nn

from batchfront import Data, Task


def data() -> Data:
    bundle = load_wine()
    x = torch.tensor(bundle.data, dtype=torch.float32)  # (178, 13)
    y = torch.tensor(bundle.target, dtype=torch.int64)  # (178,)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, val, test = order.split([108, 35, 35])  # fixed: every trial sees the same splits
    x = (x - x[train].mean(dim=0)) / x[train].std(dim=0)
    return Data(
        x_train=x[train],
        y_train=y[train],
        x_val=x[val],
        y_val=y[val],
        x_test=x[test],
        y_test=y[test],
    )


task = Task(
    name="wine",
    data=data,
    model=lambda: nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3)),
    loss=nn.functional.cross_entropy,
    optimizer=torch.optim.Adam,
    epochs=10,
)
