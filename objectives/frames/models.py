"""What a table is trained with where nothing else is said."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def perceptron(n_inputs: int, n_outputs: int, width: int = 64) -> nn.Module:
    """Two hidden layers: (B, n_inputs) -> (B, n_outputs)."""
    return nn.Sequential(
        nn.Linear(n_inputs, width), nn.ReLU(),
        nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, n_outputs),
    )  # fmt: skip


class InUnits(nn.Module):
    """A model of standard values that answers in the target's own units: (B, n) -> (B, 1)."""

    def __init__(self, model: nn.Module, centre: float, spread: float) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("spread", torch.tensor(spread))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x) * self.spread + self.centre
        return output


def in_units(
    build: Callable[..., nn.Module], centre: float, spread: float
) -> Callable[..., nn.Module]:
    """A function that takes what `build` takes, so that its arguments can be searched."""

    def built(**values: Any) -> nn.Module:
        return InUnits(build(**values), centre, spread)

    built.__signature__ = inspect.signature(build)  # type: ignore[attr-defined]
    return built


def squared_deviations(spread: float, output: Tensor, y: Tensor) -> Tensor:
    """Mean squared error, counted in deviations of the training targets."""
    return nn.functional.mse_loss(output / spread, y / spread)
