"""The task's optimizer in its fastest form, the same one for training and for prediction."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from batchfront.objectives.task import Task


def build_optimizer(
    task: Task, model: nn.Module, *, learning_rate: float, device: str
) -> torch.optim.Optimizer:
    """Fused where the optimizer has it, else foreach on accelerators and a loop on the CPU.

    Said explicitly, since torch's own choice differs between devices. A task that has chosen a
    form itself, or takes no more than `lr`, gets what it made. Fused forms take no sparse
    gradients.
    """
    optimizer = task.optimizer(model.parameters(), lr=learning_rate)
    forms = {"foreach": not device.startswith("cpu")}
    if not _has_sparse_gradients(model):
        forms = {"fused": True, **forms}
    if any(optimizer.defaults.get(form) is not None for form in forms):
        return optimizer
    for form, value in forms.items():
        if form in optimizer.defaults and _takes(task.optimizer, form):
            return task.optimizer(model.parameters(), lr=learning_rate, **{form: value})
    return optimizer


def _has_sparse_gradients(model: nn.Module) -> bool:
    """Whether an embedding says so: `nn.Embedding(sparse=True)`, `nn.EmbeddingBag(sparse=True)`."""
    return any(getattr(module, "sparse", None) is True for module in model.modules())


def _takes(make: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(make).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def step_function(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """`optimizer.step` without torch's profiler hook, an eighth of a small model's step.

    torch wraps the `step` of every optimizer class; the wrapped function is reached in Python's
    usual way. An optimizer with step hooks, or a `step` of its own, keeps them.
    """
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    plain = getattr(type(optimizer).step, "__wrapped__", None)
    own = "step" in vars(optimizer) or any(getattr(optimizer, name, True) for name in hooks)
    if plain is None or own:
        return optimizer.step
    return partial(plain, optimizer)
