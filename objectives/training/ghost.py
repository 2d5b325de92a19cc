"""Ghost batches: batch norm whose training statistics are of fewer examples than the batch has.

Hoffer et al., "Train longer, generalize better" (arXiv:1705.08741), algorithm 1. Parameters and
running statistics stay where they are, under their names: a checkpoint fits both ways.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchfront.objectives.gradients.parts import n_parts
from batchfront.objectives.measurement import ObjectiveError


class GhostBatchNorm(_BatchNorm):
    """Batch norm that, in training, normalises each of some equal parts of a batch by itself.

    The running statistics take them in one after the other, as the paper has it. In evaluation it
    is ordinary batch norm.
    """

    ghost_batch_size: int

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) float -> the same shape."""
        forward = super().forward
        if not self.training:
            return forward(x)
        return torch.cat([forward(part) for part in _parts(x, self.ghost_batch_size)])


class GhostBatchNorm1d(GhostBatchNorm, nn.BatchNorm1d):
    """Ghost batch norm of inputs (B, C) or (B, C, L)."""


class GhostBatchNorm2d(GhostBatchNorm, nn.BatchNorm2d):
    """Ghost batch norm of inputs (B, C, H, W)."""


class GhostBatchNorm3d(GhostBatchNorm, nn.BatchNorm3d):
    """Ghost batch norm of inputs (B, C, D, H, W)."""


GHOSTS: dict[type[nn.Module], type[GhostBatchNorm]] = {
    nn.BatchNorm1d: GhostBatchNorm1d,
    nn.BatchNorm2d: GhostBatchNorm2d,
    nn.BatchNorm3d: GhostBatchNorm3d,
}


def _parts(x: Tensor, ghost_batch_size: int) -> tuple[Tensor, ...]:
    """Parts as equal as can be: a remainder of one example would have no variance."""
    return x.tensor_split(n_parts(len(x), ghost_batch_size))


def use_ghost_batches(model: nn.Module, ghost_batch_size: int) -> None:
    """Make every batch norm of the model one of ghost batches, in place.

    Raises:
        ObjectiveError: there is none, or one of a kind that we cannot split.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        raise ObjectiveError(
            "--ghost-batch-size is for models with batch norm, and this one has no nn.BatchNorm1d, "
            "2d or 3d: leave it out"
        )
    for norm in norms:
        if type(norm) not in GHOSTS:
            raise ObjectiveError(
                f"--ghost-batch-size splits nn.BatchNorm1d, 2d and 3d, and the model has "
                f"{type(norm).__name__}: leave it out, or use one of those"
            )
        # The class is exchanged and not the module, so that no parent need be found.
        norm.__class__ = GHOSTS[type(norm)]
        norm.ghost_batch_size = ghost_batch_size  # type: ignore[assignment]  # of the new class
