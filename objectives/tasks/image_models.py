"""Classifiers of small images: each is made for images of one shape (C, H, W)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

N_CLASSES = 10
STAGES = ((16, 1), (32, 2), (64, 2))  # of the residual network: channels, and stride of the first

Shape = tuple[int, int, int]


def mlp(shape: Shape) -> nn.Module:
    """One hidden layer of 256 units."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), 256), nn.ReLU(), nn.Linear(256, N_CLASSES)
    )


def cnn(shape: Shape) -> nn.Module:
    """Two convolutions of 32 and 64 channels, each followed by pooling, and a linear layer."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), N_CLASSES),
    )


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch norm, around a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if n_in != n_out:
            self.shortcut = nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, n_in, H, W) -> (B, n_out, H/stride, W/stride)
        """Body plus shortcut."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(shape: Shape) -> nn.Module:
    """The smallest of the residual networks for CIFAR-10, eight layers (arXiv:1512.03385, 4.2)."""
    n_channels = STAGES[0][0]
    layers = [
        nn.Conv2d(shape[0], n_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_channels),
        nn.ReLU(),
    ]
    for n_out, stride in STAGES:
        layers.append(Residual(n_channels, n_out, stride))
        n_channels = n_out
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_channels, N_CLASSES))
    return nn.Sequential(*layers, *head)
