"""Datasets, batches and loaders as people have them, small."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from batchfront.objectives.loading.datasets import Datasets
from batchfront.objectives.task import Task, sgd_momentum

N = {"train": 50, "val": 20, "test": 20}
WEIGHTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def tensors(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 5) floats, and which of 3 classes they are of."""
    generator = torch.Generator().manual_seed(sum(map(ord, split)))
    x = torch.randn(N[split], 5, generator=generator)
    return x, (x @ WEIGHTS).argmax(dim=1)


class Noisy(Dataset[Any]):
    """Augments with all three generators in training."""

    def __init__(self, split: str) -> None:
        self.x, self.y = tensors(split)
        self.noise = 0.1 if split == "train" else 0.0

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = torch.rand(5) + float(np.random.rand()) + random.random()
        return self.x[index] + self.noise * drawn, self.y[index]


class Named(Noisy):
    """Examples that are dicts, with a name that no model takes."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return {"inputs": {"x": x}, "label": y, "name": f"example {index}"}


class Stream(IterableDataset[Any]):
    """The same without an index."""

    def __init__(self, split: str) -> None:
        self.noisy = Noisy(split)

    def __iter__(self) -> Iterator[Any]:
        return (self.noisy[index] for index in range(len(self.noisy)))


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def forward(model: nn.Module, batch: Any) -> Any:
    return model(batch["inputs"]["x"]), batch["label"]


def step(model: nn.Module, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch["inputs"]["x"]), batch["label"])


def evaluate(model: nn.Module, loader: Any) -> dict[str, float]:
    """Accuracy, as somebody has it already."""
    assert isinstance(model, nn.Sequential)  # as they gave it
    assert len(list(loader)) == len(loader)
    good = sum(
        int((model(batch["inputs"]["x"]).argmax(1) == batch["label"]).sum()) for batch in loader
    )
    return {"val_accuracy": good / len(loader.dataset)}


def noisy(kind: Any = Noisy, **settings: Any) -> Datasets:
    return Datasets(**{**{split: kind(split) for split in N}, **settings})


def streams(**settings: Any) -> Datasets:
    return noisy(Stream, **{**{f"n_{split}": n for split, n in N.items()}, **settings})


def loaders(batch_size: int) -> list[DataLoader[Any]]:
    """Of a shuffle that a generator of its own decides."""
    generator = torch.Generator().manual_seed(3)
    return [
        DataLoader(Noisy("train"), batch_size, shuffle=True, generator=generator),
        DataLoader(Noisy("val"), 7),
        DataLoader(Noisy("test"), 7),
    ]


def task_of(datasets: Any = None, **changes: Any) -> Task:
    given: dict[str, Any] = {
        "name": "people",
        "model": model,
        "loss": nn.functional.cross_entropy,
        "optimizer": sgd_momentum,
        "epochs": 3,
    }
    own = {"data", "loaders"} & set(changes)
    return Task(**{**given, **({} if own else {"datasets": datasets or noisy}), **changes})
