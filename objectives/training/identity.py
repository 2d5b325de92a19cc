"""By what two tasks are known to be the same: data, model, loss and optimizer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from batchfront.objectives.task import Data, Task

if TYPE_CHECKING:
    import torch
    from torch import nn


def fingerprint(task: Task, model: nn.Module, data: str) -> dict[str, str]:
    """What must be the same for two runs to belong to one study: data, model and optimizer.

    `data`: its hash.
    """
    shapes = [(name, tuple(p.shape), str(p.dtype)) for name, p in model.named_parameters()]
    return {
        "data": data,
        "model": _short_hash(repr(shapes)),
        "architecture": _short_hash(repr(model)),
        "loss": function_name(task.loss if task.step is None else task.step),
        "optimizer": optimizer_name(task, model),
        **({} if task.scheduler is None else {"scheduler": function_name(task.scheduler)}),
    }


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def function_name(function: Any) -> str:
    """A name without memory addresses, which change from process to process."""
    if isinstance(function, partial):
        keywords = (f"{key}={function_name(value)}" for key, value in function.keywords.items())
        given = [*map(function_name, function.args), *keywords]
        return f"{function_name(function.func)}({', '.join(given)})"
    name = getattr(function, "__qualname__", None) or repr(function)
    return re.sub(" at 0x[0-9a-f]+", "", name)


def data_hash(data: Data) -> str:
    """Hash of all six tensors: shapes, types and bytes."""
    import numpy as np

    digest = hashlib.sha256()
    for split in fields(data):
        tensor = getattr(data, split.name)
        digest.update(f"{split.name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(array.reshape(-1).view(np.uint8).data)  # without a copy
    return digest.hexdigest()[:16]


def optimizer_name(task: Task, model: nn.Module) -> str:
    """The optimizer with what differs from torch's defaults: `SGD(momentum=0.9)`."""
    import torch

    optimizer = task.optimizer(model.parameters(), lr=0.5)
    kind: Callable[..., torch.optim.Optimizer] = type(optimizer)
    try:
        plain = kind([torch.nn.Parameter(torch.zeros(1))], lr=0.5).defaults
    except TypeError:  # it has arguments without defaults, which the task gave
        plain = {}
    ignored = {"lr", "foreach", "fused", "capturable", "differentiable"}
    changed = {
        key: value
        for key, value in sorted(optimizer.defaults.items())
        if key not in ignored and plain.get(key) != value
    }
    return f"{type(optimizer).__name__}({', '.join(f'{k}={v}' for k, v in changed.items())})"
