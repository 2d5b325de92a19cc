"""scikit-learn's 1797 handwritten digits, 8 x 8 pixels, 10 classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.task import Data, Task, sgd_momentum
from batchfront.objectives.tasks.splits import split_60_20_20

if TYPE_CHECKING:
    from torch import nn


def digits() -> Task:
    """MLP 64-128-10, SGD with momentum 0.9."""
    from torch.nn.functional import cross_entropy

    return Task(
        name="digits", data=_flat, model=_mlp, loss=cross_entropy, optimizer=sgd_momentum, epochs=20
    )


def digits_cnn() -> Task:
    """Two convolutions of 16 and 32 channels and a linear layer, SGD with momentum 0.9."""
    from torch.nn.functional import cross_entropy

    return Task(
        name="digits-cnn",
        data=_images,
        model=_cnn,
        loss=cross_entropy,
        optimizer=sgd_momentum,
        epochs=20,
    )


def _flat() -> Data:
    import torch
    from sklearn.datasets import load_digits

    bundle = load_digits()
    x = torch.tensor(bundle.data / 16.0, dtype=torch.float32)  # (1797, 64), 0..1
    return split_60_20_20(x, torch.tensor(bundle.target, dtype=torch.int64))


def _images() -> Data:
    flat = _flat()
    shaped = {f"x_{s}": getattr(flat, f"x_{s}").view(-1, 1, 8, 8) for s in ("train", "val", "test")}
    return Data(**{**vars(flat), **shaped})


def _mlp() -> nn.Module:
    from torch import nn

    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def _cnn() -> nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10),
    )
