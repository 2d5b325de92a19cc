"""Tasks on published image data: what is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.datasets.download import Source, fetch
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.task import Data, Task, sgd_momentum
from batchfront.objectives.tasks.splits import permutation

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

N_CLASSES = 10

Shape = tuple[int, int, int]  # (C, H, W)
Labelled = tuple["np.ndarray", "np.ndarray"]  # (N, C, H, W) uint8, (N,) uint8


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """A published data set: its files, its official split, and how they are read."""

    source: Source
    read: Callable[[Path, ImageSet], tuple[Labelled, Labelled]]
    """(folder, this) -> the official training and test part."""
    n_train: int
    """Of the official training part."""
    n_val: int
    """Of these, how many validate."""
    n_test: int
    shape: Shape
    """Of an image."""


def image_task(
    name: str, images: ImageSet, model: Callable[[Shape], nn.Module], *, data_dir: Path
) -> Task:
    """SGD with momentum 0.9 and cross-entropy, on images that are downloaded if need be."""
    from torch.nn.functional import cross_entropy

    return Task(
        name=name,
        data=partial(load_images, images, data_dir),
        model=partial(model, images.shape),
        loss=cross_entropy,
        optimizer=sgd_momentum,
        epochs=10,
    )


def load_images(images: ImageSet, data_dir: Path) -> Data:
    """The official test part; the official training part shuffled once and cut in two.

    Raises:
        ObjectiveError: a file cannot be had, or is not what it should be.
    """
    folder = fetch(images.source, data_dir)
    train, test = images.read(folder, images)
    for _, labels in (train, test):
        if labels.max() >= N_CLASSES:
            raise ObjectiveError(
                f"{folder} has the label {labels.max()}, wanted 0..{N_CLASSES - 1}"
            )
    order = permutation(images.n_train)
    rest, held_out = order[: -images.n_val], order[-images.n_val :]
    parts = {
        "train": (train[0][rest], train[1][rest]),
        "val": (train[0][held_out], train[1][held_out]),
        "test": test,
    }
    tables = _tables(parts["train"][0])
    made: dict[str, Any] = {}
    for split, (pixels, labels) in parts.items():
        made[f"x_{split}"], made[f"y_{split}"] = _tensors(pixels, labels, tables)
    return Data(**made)


def _tables(pixels: np.ndarray) -> np.ndarray:
    """What each of the 256 values becomes at zero mean and unit variance, for each channel.

    From sums of whole numbers, and looked up instead of computed: the same bits on every machine,
    as the fingerprint of a study that several share must be.
    """
    import numpy as np

    tables = []
    for channel in range(pixels.shape[1]):
        counts = np.bincount(pixels[:, channel].ravel(), minlength=256)
        values = np.arange(256)
        n, total, squares = (int((counts * values**power).sum()) for power in (0, 1, 2))
        mean, variance = total / n, (n * squares - total * total) / (n * n)
        tables.append((values - mean) / (variance**0.5 or 1.0))
    return np.array(tables, dtype=np.float32)  # (C, 256)


def _tensors(pixels: np.ndarray, labels: np.ndarray, tables: np.ndarray) -> tuple[Tensor, Tensor]:
    import numpy as np
    import torch

    x = np.empty(pixels.shape, dtype=np.float32)
    for channel, table in enumerate(tables):
        np.take(table, pixels[:, channel], out=x[:, channel], mode="clip")  # needs no buffer
    return torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))
