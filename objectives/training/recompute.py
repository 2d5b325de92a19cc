"""Activation checkpointing: what is cheap to compute again is not kept for the backward pass.

Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174), with torch's own
`torch.utils.checkpoint`. Names of parameters stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from batchfront.objectives.measurement import ObjectiveError


class Segmented(nn.Sequential):
    """About as many segments as each has layers; of each only the input is kept."""

    is_whole_model: bool

    def forward(self, x: Any) -> Any:
        """The output that nn.Sequential would give for x."""
        *first, last = _segments(list(self))
        for layers in first:
            x = _forgetting(layers, partial(_through, layers), x)
        # What runs last is what the backward pass needs first: forgetting it would save nothing.
        return (
            _through(last, x)
            if self.is_whole_model
            else _forgetting(last, partial(_through, last), x)
        )


class Recomputed(nn.Module):
    """Put before a module's own class: only its input is kept."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output that the module's own class would give."""
        return _forgetting([self], super().forward, *args, **kwargs)


def recompute_activations(model: nn.Module) -> None:
    """Have the model forget activations in training, in place.

    Outermost containers decide: an nn.Sequential runs in segments, of an nn.ModuleList each block
    (a module with modules of its own) is a segment.

    Raises:
        ObjectiveError: the model has no such containers, so nothing says what to compute again.
    """
    if _wrap(model, is_whole_model=True) == 0:
        raise ObjectiveError(
            "--checkpoint-activations computes again the layers of an nn.Sequential or the blocks "
            "of an nn.ModuleList, and this model has neither: build it from those, or leave it out"
        )


def _wrap(module: nn.Module, *, is_whole_model: bool = False) -> int:
    """Returns how many containers were found."""
    if type(module) is nn.Sequential and len(module) > 1:
        module.__class__ = Segmented
        module.is_whole_model = is_whole_model  # type: ignore[assignment]  # of the new class
        return 1
    if isinstance(module, nn.ModuleList):
        blocks = [block for block in module if next(block.children(), None) is not None]
        for block in blocks:
            kind = type(block)
            block.__class__ = type(f"Recomputed{kind.__name__}", (Recomputed, kind), {})
        return len(blocks)
    return sum(_wrap(child) for child in module.children())


def _segments(layers: list[nn.Module]) -> list[list[nn.Module]]:
    """The square root of n segments of n layers keep the least (section 4.1 of the paper)."""
    n_segments = math.ceil(math.sqrt(len(layers)))
    ends = [round(len(layers) * k / n_segments) for k in range(n_segments + 1)]
    return [layers[start:end] for start, end in pairwise(ends)]


def _through(layers: Sequence[nn.Module], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _forgetting(modules: Sequence[nn.Module], function: Any, *args: Any, **kwargs: Any) -> Any:
    """`function`, computed again in the backward pass, where there will be one.

    torch puts back the random numbers of dropout and the precision of autocast for that.
    """
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    contexts = partial(_contexts, modules)
    return checkpoint(function, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(
    modules: Sequence[nn.Module],
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_as_they_are(modules)


@contextmanager
def _statistics_as_they_are(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Computed twice, a batch would enter the running statistics twice."""
    inner = (module for outer in modules for module in outer.modules())
    norms = [m for m in inner if isinstance(m, _NormBase) and m.training]
    momenta = [norm.momentum for norm in norms]
    counts = [c if c is None else c.clone() for c in (norm.num_batches_tracked for norm in norms)]
    for norm in norms:
        norm.momentum = 0.0  # adds nothing to them, exactly
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)
