"""What a library keeps from its first use on: made before any meter looks, as no run's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def warm_recurrent(model: nn.Module, *, device: str) -> None:
    """Let cuDNN make the state of its dropout, which it keeps for all recurrent layers.

    The first run of a process would be charged with it, and the random number that it draws would
    be missing from that run alone.
    """
    import torch
    from torch import nn

    if device.startswith("cpu") or not any(isinstance(m, nn.RNNBase) for m in model.modules()):
        return
    with torch.random.fork_rng(devices=[]):
        layer = nn.LSTM(1, 1, num_layers=2, dropout=0.5).to(device)
        layer(torch.ones(1, 1, 1, device=device))
