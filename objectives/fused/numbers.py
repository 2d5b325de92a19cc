"""The numbers of several optimizers, a row for each step that is to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchfront.objectives.fused.rules import numbers_in
from batchfront.objectives.fused.shape import Shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def read_of(shape: Shape, optimizer: torch.optim.Optimizer) -> list[list[float]]:
    """What each of its parameter groups says now, (G, R)."""
    groups = optimizer.param_groups[: shape.n_groups]
    return [numbers_in(group, shape.rule.read) for group in groups]


def in_rows(shape: Shape, optimizers: Sequence[torch.optim.Optimizer], n: int) -> Tensor:
    """The rows of the first `n` steps at the rates that they have now; (n, G R, W) float64."""
    import torch

    read = torch.tensor([[read_of(shape, one)] for one in optimizers], dtype=torch.float64)
    return rows(shape, list(read.expand(-1, n, -1, -1)), [0] * len(optimizers))


def rows(shape: Shape, read: Sequence[Tensor], steps: Sequence[int]) -> Tensor:
    """What the rule makes of it; (n, G R, W) float64.

    Args:
        read: of each model, (n, G, R), what its optimizer says at each step.
        steps: of each model, those that it has taken before.
    """
    import torch

    given = torch.stack(list(read), dim=-1)  # (n, G, R, W)
    n = len(given)
    taken = torch.tensor(list(steps), dtype=torch.float64)
    step = taken + torch.arange(1, n + 1, dtype=torch.float64).view(-1, 1, 1)  # (n, 1, W)
    by_name = {name: given[:, :, k] for k, name in enumerate(shape.rule.read)}  # (n, G, W)
    found = list(shape.rule.numbers(by_name, step).values())
    return torch.stack(torch.broadcast_tensors(*found), dim=2).flatten(1, 2)
