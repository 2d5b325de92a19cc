"""Segmentation by IoU, of batches that are dicts: make study TASK=examples/segmentation.py"""

import torch
from torch import nn
from torch.utils.data import Dataset

from batchfront import Datasets, Task


class Discs(Dataset):
    def __init__(self, n):
        g, at = torch.Generator().manual_seed(n), torch.arange(16.0)
        x, y = 4 + 8 * torch.rand(2, n, 1, 1, generator=g)
        self.masks = ((at - x) ** 2 + (at[:, None] - y) ** 2 < 16).long()
        self.images = self.masks + 0.7 * torch.randn(n, 16, 16, generator=g)

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, i):
        return {"image": self.images[i, None], "mask": self.masks[i]}


task = Task(
    name="discs", metric="iou", also=["accuracy"], epochs=5, optimizer=torch.optim.Adam,
    datasets=lambda: Datasets(train=Discs(256), val=Discs(64), test=Discs(65)),
    model=lambda: nn.Sequential(nn.Conv2d(1, 8, 5, 1, 2), nn.ReLU(), nn.Conv2d(8, 2, 5, 1, 2)),
    forward=lambda model, batch: (model(batch["image"]), batch["mask"]),
    loss=nn.functional.cross_entropy,
)  # fmt: skip
