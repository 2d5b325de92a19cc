"""Dropout in a group: every model draws its own random numbers, those that it draws alone.

A traced step draws once for all models, of one generator. So its draws are taken out of it: they
are made outside, model by model, each with its own generator, in the order and the shape in which
an ordinary step makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.fused.leaner import PLACE, Place
from batchfront.objectives.fused.refusal import Refused

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.fx import Graph, Node


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What each model draws at one point of its step: ones, and zeros elsewhere."""

    shape: tuple[int, ...]
    share: float  # of ones
    dtype: torch.dtype


class Noise:
    """The random numbers of one traced step, drawn anew whenever it is taken."""

    def __init__(self, draws: Sequence[Draw], width: int) -> None:
        import torch

        self._tensors = [torch.zeros((width, *one.shape), dtype=one.dtype) for one in draws]
        shares = [one.share for one in draws]
        self._places = [
            list(zip([tensor[place] for tensor in self._tensors], shares, strict=True))
            for place in range(width if draws else 0)
        ]

    def drawn(self, generators: Sequence[torch.Generator]) -> list[Tensor]:
        """The numbers of a step, (W, ...) each, in the order in which it takes them."""
        for place, generator in zip(self._places, generators, strict=False):
            for tensor, share in place:
                tensor.bernoulli_(share, generator=generator)
        return self._tensors


def noise_of(graph: Graph, width: int, device: str) -> Noise:
    """Make what a graph draws something that it takes, after all else.

    Raises:
        Refused: it draws other random numbers than dropout does on a CPU.
    """
    import torch

    nodes, aten, draws = graph.nodes, torch.ops.aten, []
    last = [node for node in nodes if node.op == "placeholder"][-1]
    for node in list(nodes):
        if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
            continue
        draws.append(_draw(node, device))
        with graph.inserting_after(last):
            last = graph.placeholder(f"drawn_{len(draws)}")
        if node.target is aten.bernoulli.p:
            last.meta[PLACE] = node.meta[PLACE]
            node.replace_all_uses_with(last)
            graph.erase_node(node)
        else:  # others may look at what it writes into
            node.target, node.args = aten.copy_.default, (node.args[0], last)
    return Noise(draws, width)


def _draw(node: Node, device: str) -> Draw:
    import torch

    known = (torch.ops.aten.bernoulli.p, torch.ops.aten.bernoulli_.float)
    if node.target not in known or len(node.args) != 2 or node.kwargs:
        raise Refused(f"steps that draw random numbers other than dropout's ({node.target})")
    if device != "cpu":
        raise Refused(f"dropout on {device}, which draws otherwise in a group")
    share: Any = node.args[1]
    drawn: Place = node.meta[PLACE]  # (W, ...)
    return Draw(shape=drawn.shape[1:], share=float(share), dtype=drawn.dtype)


def generator_at(state: Tensor) -> torch.Generator:
    """A generator of the CPU that goes on from there."""
    import torch

    generator = torch.Generator()
    generator.set_state(state)
    return generator
