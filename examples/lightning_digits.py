"""A project in Lightning joins: four lines at the end.

pip install 'batchfront[lightning]'
make study TASK=examples/lightning_digits.py
"""

from __future__ import annotations

import lightning as L  # noqa: N812
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import batchfront as bf


class DigitsModule(L.LightningModule):
    def __init__(self, lr=1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, _):
        x, y = batch  # (B, 64), (B,)
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch, _):
        x, y = batch
        self.log("val_acc", (self.net(x).argmax(dim=1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


class DigitsData(L.LightningDataModule):
    def __init__(self, batch_size=32):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage):
        found = load_digits()
        x = torch.tensor(found.data, dtype=torch.float32) / 16  # (1797, 64)
        everything = TensorDataset(x, torch.tensor(found.target))
        generator = torch.Generator().manual_seed(0)
        self.train, self.val = random_split(everything, [1200, 597], generator)

    def train_dataloader(self):
        return DataLoader(self.train, self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, 256)


ACCURACY = bf.Metric("val_acc", bound=1.0, worst=0.0)
objective = bf.lightning.objective(DigitsModule, DigitsData, metric=ACCURACY, epochs=5)
