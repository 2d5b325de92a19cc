"""Mixed precision: forward passes in 16 bits, weights and their updates in 32.

Micikevicius et al., "Mixed Precision Training" (arXiv:1710.03740), with torch's own autocast and
gradient scaler. Losses are computed in float32 from outputs that are not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loading.tree import mapped
from batchfront.objectives.measurement import ObjectiveError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The scale begins at 2**16 and halves at each overflow: after so many in a row it is not the scale
# that makes gradients overflow.
PATIENCE = 20


def autocast_to(precision: str, device: str) -> AbstractContextManager[Any]:
    """The autocast context for forward passes, of training and validation."""
    import torch

    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.split(":")[0], dtype=getattr(torch, precision))


def in_float32(output: Any) -> Any:
    """What 16 bits gave, also in tuples and dicts; everything else stays what it is."""
    if not hasattr(output, "element_size"):
        nested = isinstance(output, Mapping | list | tuple)
        return mapped(in_float32, output) if nested else output
    return output.float() if output.element_size() < 4 and output.is_floating_point() else output


def check_precision(precision: str, device: str) -> None:
    """Raise ObjectiveError for one that the device cannot compute in."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # where torch would quietly go on in float32
            with autocast_to(precision, device):
                pass
    except (RuntimeError, UserWarning) as error:
        raise ObjectiveError(
            f"precision {precision} is not there on {device} ({str(error).splitlines()[0]}): "
            "choose --precision float32"
        ) from None


def is_emulated(precision: str, device: str) -> bool:
    """Whether the device has no arithmetic of its own for it: GPUs before Ampere and bfloat16."""
    import torch

    if precision != "bfloat16" or not device.startswith("cuda"):
        return False
    return not torch.cuda.is_bf16_supported(including_emulation=False)


class LossScaler:
    """torch's gradient scaler for float16, and what became of the steps it skipped.

    A skipped step is no divergence: the scale was too large, and halves. PATIENCE of them in a row
    are, and show as a loss that is not finite. After the first step nothing waits for the device of
    a fused optimizer; for others torch asks at every step whether to take it.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._scaler = torch.amp.GradScaler(device.split(":")[0])
        self._one = torch.ones((), device=device)
        self._n_skipped = torch.zeros((), dtype=torch.int64, device=device)
        self._in_a_row = torch.zeros((), dtype=torch.int64, device=device)
        self._last_loss = torch.zeros((), device=device)  # of the last step that was finite
        self._has_stepped = False

    def scale(self, loss: Tensor) -> Tensor:
        """The scaled loss, to be sent backward in place of the loss itself."""
        return self._scaler.scale(loss)

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        loss: Tensor,
        clip: Callable[[], None] | None = None,
    ) -> Tensor:
        """One step of the optimizer, or none; returns the loss to report for it.

        `clip`: of the gradient as it is without the scale.
        """
        import torch

        before = self.scale(self._one)
        if clip is not None:
            self._scaler.unscale_(optimizer)
            clip()
        # torch's fused SGD makes its momentum without filling it, even where it skips that step.
        self._has_stepped = self._has_stepped or _gradients_are_finite(optimizer)
        if self._has_stepped:
            self._scaler.step(optimizer)
        elif clip is None:
            self._scaler.unscale_(optimizer)  # which sees the overflow, too
        self._scaler.update()
        skipped = self.scale(self._one) < before
        self._n_skipped += skipped
        self._in_a_row = (self._in_a_row + 1) * skipped
        self._last_loss = torch.where(torch.isfinite(loss), loss, self._last_loss)
        reported = torch.where(skipped, self._last_loss, loss)
        return torch.where(self._in_a_row >= PATIENCE, torch.nan, reported)

    @property
    def n_skipped(self) -> int:
        """Steps so far."""
        return int(self._n_skipped)

    def state_dict(self) -> dict[str, Any]:
        """All that changes from step to step."""
        return {
            "scaler": self._scaler.state_dict(),
            "n_skipped": int(self._n_skipped),
            "in_a_row": int(self._in_a_row),
            "last_loss": float(self._last_loss),
            "has_stepped": self._has_stepped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._scaler.load_state_dict(state["scaler"])
        self._n_skipped.fill_(state["n_skipped"])
        self._in_a_row.fill_(state["in_a_row"])
        self._last_loss.fill_(state["last_loss"])
        self._has_stepped = state["has_stepped"]


def _gradients_are_finite(optimizer: torch.optim.Optimizer) -> bool:
    import torch

    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return all(bool(torch.isfinite(p.grad).all()) for p in parameters if p.grad is not None)
