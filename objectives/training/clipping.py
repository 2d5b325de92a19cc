"""Gradients whose norm is held below a limit (arXiv:1211.5063), and how often that was needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

TINY = 1e-6  # as in torch.nn.utils.clip_grad_norm_


class Clipper:
    """Clips the gradient of every step; nothing waits for the device."""

    def __init__(self, model: nn.Module, most: float, *, device: str) -> None:
        """`most`: the largest norm of all gradients together."""
        import torch

        self._model = model
        self._most = most
        self._counts = torch.zeros(2, dtype=torch.int64, device=device)  # clipped, and all steps

    def __call__(self) -> None:
        """Clip the gradient that lies in the parameters; one that is not finite is no step."""
        import torch

        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._most)
        finite = torch.isfinite(norm)
        self._counts += torch.stack([finite & (norm > self._most), finite])

    @property
    def share(self) -> float:
        """The share of steps so far whose gradient was clipped."""
        return share_of(self._counts)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"counts": self._counts.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._counts.copy_(self._counts.new_tensor(state["counts"]))


def share_of(counts: Tensor) -> float:
    """Clipped steps over all steps; 0 where there were none."""
    clipped, steps = counts.tolist()
    return float(clipped / max(steps, 1))


def clipped(grads: Sequence[Tensor], most: float, counts: Tensor) -> list[Tensor]:
    """The gradients, clipped, within a graph; adds to `counts`, (2,): clipped, and all steps."""
    import torch

    norm = torch.nn.utils.get_total_norm(grads)
    finite = torch.isfinite(norm)
    counts += torch.stack([finite & (norm > most), finite])
    factor = (most / (norm + TINY)).clamp(max=1.0)
    return [grad * factor for grad in grads]
