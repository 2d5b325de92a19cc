"""A regression by its mean absolute error: make study TASK=examples/regression.py"""

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import TensorDataset, random_split

from batchfront import Datasets, Task


def data():
    x, y = load_diabetes(return_X_y=True)
    x, y = (torch.tensor(part, dtype=torch.float32) for part in (x, y))
    every = TensorDataset(x / x.std(0), y[:, None] / 100)  # in hundreds
    splits = random_split(every, [300, 71, 71], torch.Generator().manual_seed(0))
    return Datasets(train=splits[0], val=splits[1], test=splits[2])


task = Task(
    name="progression",
    datasets=data,
    model=lambda: nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1)),
    loss=nn.functional.l1_loss,
    optimizer=torch.optim.Adam,
    metric="mae",
    epochs=10,
)
