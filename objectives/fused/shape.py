"""What one vectorised step is made for, and where each of its tensors stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.fused.rules import Rule

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Tensors = list[Tensor]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The names and groups of a model's tensors; two that are equal can be trained together."""

    trained: tuple[str, ...]  # parameters
    groups: tuple[int, ...]  # the optimizer's group of each of them
    held: tuple[str, ...]  # buffers, and parameters that are not trained
    sizes: tuple[tuple[int, ...], ...]  # of all these
    rule: Rule

    @staticmethod
    def of(model: nn.Module, optimizer: torch.optim.Optimizer, rule: Rule) -> Shape:
        """The shape of a model and its optimizer."""
        group_of = {
            id(param): n
            for n, group in enumerate(optimizer.param_groups)
            for param in group["params"]
        }
        named = dict(model.named_parameters())
        trained = {n: p for n, p in named.items() if p.requires_grad and id(p) in group_of}
        frozen = {n: p for n, p in named.items() if n not in trained}
        held = {**frozen, **dict(model.named_buffers())}
        return Shape(
            trained=tuple(trained),
            groups=tuple(group_of[id(param)] for param in trained.values()),
            held=tuple(held),
            sizes=tuple(tuple(t.shape) for t in (*trained.values(), *held.values())),
            rule=rule,
        )

    @property
    def n_groups(self) -> int:
        """Parameter groups that train anything."""
        return max(self.groups) + 1

    def split(self, tensors: Sequence[Tensor]) -> tuple[Tensors, Tensors, list[Tensors]]:
        """Parameters, what is held, and the state of each parameter, of all tensors in a row."""
        n, m, each = len(self.trained), len(self.held), len(self.rule.state)
        state = tensors[n + m :]
        return (
            list(tensors[:n]),
            list(tensors[n : n + m]),
            [list(state[k * each : (k + 1) * each]) for k in range(n)],
        )
