"""The tensors of several models and of their optimizers, one above the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from batchfront.objectives.fused.shape import Shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Places:
    """Room for `width` models of one shape; what stands in one place never meets another."""

    def __init__(self, shape: Shape, width: int, like: nn.Module) -> None:

        self.shape, self.width = shape, width
        self.tensors: list[Tensor] = []
        """As `shape.split` has them, (W, ...) each."""
        named = named_tensors(like)
        trained = [named[name].detach() for name in shape.trained]
        held = [named[name].detach() for name in shape.held]
        for tensor in (*trained, *held, *(t for t in trained for _ in shape.rule.state)):
            self.tensors.append(tensor.new_zeros((width, *tensor.shape)))

    def put(self, place: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Copy a model and its optimizer's state into a place."""
        import torch

        params, held, states = self.shape.split(self.tensors)
        named = named_tensors(model)
        with torch.no_grad():
            for name, tensor in zip(self.shape.trained, params, strict=True):
                tensor[place].copy_(named[name])
            for name, tensor in zip(self.shape.held, held, strict=True):
                tensor[place].copy_(named[name])
            for name, state in zip(self.shape.trained, states, strict=True):
                found = optimizer.state.get(named[name], {})
                for key, tensor in zip(self.shape.rule.state, state, strict=True):
                    if found.get(key) is None:
                        tensor[place].zero_()
                    else:
                        tensor[place].copy_(found[key])

    def take(self, place: int, named: Mapping[str, Tensor]) -> None:
        """Copy what stands in a place into a model's tensors."""
        import torch

        params, held, _ = self.shape.split(self.tensors)
        with torch.no_grad():
            for names, tensors in ((self.shape.trained, params), (self.shape.held, held)):
                for name, tensor in zip(names, tensors, strict=True):
                    named[name].copy_(tensor[place])

    def take_state(
        self,
        place: int,
        named: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        *,
        steps: int,
    ) -> None:
        """Give the optimizer of a model's tensors the state in a place, as torch keeps it."""
        import torch

        _, _, states = self.shape.split(self.tensors)
        rule = self.shape.rule
        for name, state in zip(self.shape.trained, states, strict=True):
            kept = zip(rule.state, state, strict=True)
            found = {key: tensor[place].clone() for key, tensor in kept}
            if rule.counts:
                found["step"] = torch.tensor(float(steps), dtype=torch.float32)
            if found:
                optimizer.state[named[name]] = found

    def only(self, places: Sequence[int], width: int) -> None:
        """Keep these places alone, in this order; a room of `width` is filled up with the first."""
        import torch

        kept = [*places, *[places[0]] * (width - len(places))]
        index = torch.tensor(kept, device=self.tensors[0].device)
        self.tensors = [tensor.index_select(0, index) for tensor in self.tensors]
        self.width = width


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a model, by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def steps_in(optimizer: torch.optim.Optimizer) -> int:
    """The steps that an optimizer's state counts; 0 where it counts none."""
    found = [state["step"] for state in optimizer.state.values() if "step" in state]
    return int(found[0]) if found else 0
