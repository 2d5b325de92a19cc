"""Several labels an example, by mAP: make study TASK=examples/multilabel.py"""

import torch
from sklearn.datasets import make_multilabel_classification
from torch import nn
from torch.utils.data import TensorDataset, random_split

from batchfront import Datasets, Task


def data():
    x, y = make_multilabel_classification(1000, 20, n_classes=5, random_state=0)
    x, y = (torch.tensor(part, dtype=torch.float32) for part in (x, y))
    every = TensorDataset((x - x.mean(0)) / x.std(0), y)
    splits = random_split(every, [600, 200, 200], torch.Generator().manual_seed(0))
    return Datasets(train=splits[0], val=splits[1], test=splits[2])


task = Task(
    name="labels",
    datasets=data,
    model=lambda: nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 5)),
    loss=nn.functional.binary_cross_entropy_with_logits,
    optimizer=torch.optim.Adam,
    metric="map",
    epochs=5,
)
