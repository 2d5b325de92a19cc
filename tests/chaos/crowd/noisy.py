"""A small regression with dropout, and epochs that take a while: the task of the storms.

Its metric is a number of many digits, and follows from every random number drawn. A run that was
taken up with anything else than the state in which it was left shows that in its result.
"""

from __future__ import annotations

import os
import time

import torch
from torch import nn

from batchfront import Data, Task

EPOCH_SECONDS = 0.2  # slept while validating, so that nobody's training time counts it


def data() -> Data:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(300, 8, generator=draw)  # (300, 8)
    noise = torch.randn(300, generator=draw)
    y = torch.sin(2 * x[:, 0]) * x[:, 1] + x[:, 2] + 0.3 * noise  # (300,)
    return Data(
        x_train=x[:200],
        y_train=y[:200],
        x_val=x[200:250],
        y_val=y[200:250],
        x_test=x[250:],
        y_test=y[250:],
    )


class Slow(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            time.sleep(EPOCH_SECONDS)
        return super().forward(x).squeeze(1)


def model() -> nn.Module:
    return Slow(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))


task = Task(
    name="noisy",
    data=data,
    model=model,
    loss=nn.functional.mse_loss,
    optimizer=torch.optim.Adam,
    metric="r2",
    epochs=6,
)

if "STORM_BUG" in os.environ:  # a storm that is to find it
    from tests.chaos.crowd.bugs import plant

    plant(os.environ["STORM_BUG"])
