"""What people have already: datasets with augmentation, mixup, tables, models, a loop."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate


class Digits(Dataset[Any]):
    def __init__(self, part: str) -> None:
        bundle = load_digits()
        order = torch.randperm(len(bundle.target), generator=torch.Generator().manual_seed(0))
        index = {"train": order[:256], "val": order[600:800], "test": order[900:1000]}[part]
        self.x = torch.tensor(bundle.images, dtype=torch.float32)[index].unsqueeze(1) / 16
        self.y = torch.tensor(bundle.target)[index]
        self.augments = part == "train"

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> Any:
        image = self.x[i]
        if self.augments:  # a random crop
            top, left = torch.randint(3, (2,)).tolist()
            image = nn.functional.pad(image, (1, 1, 1, 1))[:, top : top + 8, left : left + 8]
        return ((image - 0.3) / 0.37).expand(3, -1, -1), self.y[i]


def collate(batch: Any) -> Any:
    """Mixup: images and shares of classes."""
    x, y = default_collate(batch)
    share, other = torch.distributions.Beta(0.2, 0.2).sample(), torch.randperm(len(x))
    shares = nn.functional.one_hot(y, 10).float()
    return share * x + (1 - share) * x[other], share * shares + (1 - share) * shares[other]


class Block(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(n, n, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(x + self.norms[1](self.second(inner)))


def build() -> nn.Module:
    ends = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 10)
    return nn.Sequential(
        ends[0], Block(8), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), ends[1]
    )


def top1(model: nn.Module, loader: Any, device: str) -> float:
    model.eval()
    good = 0
    with torch.inference_mode():
        for x, y in loader:
            good += int((model(x.to(device)).argmax(1).cpu() == y).sum())
    return good / len(loader.dataset)


def train(batch_size: int, lr: float, epochs: int, device: str = "cpu") -> None:
    model = build().to(device)
    opt = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    loader = DataLoader(
        Digits("train"), batch_size, shuffle=True, num_workers=2, collate_fn=collate
    )
    val = DataLoader(Digits("val"), 256)
    for epoch in range(epochs):
        model.train()
        for x, y in loader:
            opt.zero_grad()
            loss = loss_fn(model(x.to(device)), y.to(device))
            loss.backward()
            opt.step()
        print(epoch, loss.item(), top1(model, val, device))


def tables(x: Any, y: Any, *sizes: int) -> dict[str, torch.Tensor]:
    """Six tensors, of rows in an order of their own."""
    x, y = (torch.tensor(part, dtype=torch.float32) for part in (x, y))
    parts = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split(list(sizes))
    named = dict(zip(("train", "val", "test"), parts, strict=True))
    return {
        f"{of}_{name}": t[rows] for of, t in (("x", x), ("y", y)) for name, rows in named.items()
    }


def progression() -> dict[str, torch.Tensor]:
    bundle = load_diabetes()
    return tables(bundle.data / bundle.data.std(0), bundle.target[:, None], 300, 71, 71)


def labels() -> dict[str, torch.Tensor]:
    x, y = make_multilabel_classification(1000, 20, n_classes=5, random_state=0)
    return tables((x - x.mean(0)) / x.std(0), y, 600, 200, 200)


def layers(n_inputs: int, n_outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_inputs, 32), nn.ReLU(), nn.Linear(32, n_outputs))
