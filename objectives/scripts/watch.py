"""Sees the training steps of code that does not tell of them: by torch's optimizers and losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def batch_lengths() -> Iterator[Callable[[], int]]:
    """Inside, the first dimension of what a module was last called with for a gradient; 0: none."""
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    lengths = [0]

    def look(module: Any, given: tuple[Any, ...]) -> None:
        if torch.is_grad_enabled() and given and isinstance(given[0], torch.Tensor):
            lengths[0] = len(given[0]) if given[0].ndim else 0

    hook = register_module_forward_pre_hook(look)
    try:
        yield lambda: lengths[0]
    finally:
        hook.remove()


@contextmanager
def watched(
    *,
    begin: Callable[[], None],
    step: Callable[[Any], None],
    evaluates: Callable[[bool], None],
) -> Iterator[None]:
    """Inside, every optimizer of torch tells of its steps, whoever trains.

    Args:
        begin: called before the first gradient is computed.
        step: called after each optimizer step, with the last loss of which a gradient was
            computed; a step that many backward passes prepared has their mean. 0 where none was.
        evaluates: called with True when a module is set to evaluate, with False when one is set
            to train, or a gradient is computed.
    """
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    losses: list[Any] = []
    tensor: Any = torch.Tensor
    module: Any = torch.nn.Module
    backward, train = tensor.backward, module.train

    def own_backward(self: Any, *args: Any, **options: Any) -> Any:
        evaluates(False)
        begin()
        if self.numel() == 1:
            losses.append(self.detach())
        return backward(self, *args, **options)

    def own_train(self: Any, mode: bool = True) -> Any:
        evaluates(not mode)
        return train(self, mode)

    def stepped(*_: Any) -> None:
        begin()
        loss = sum(losses) / len(losses) if losses else 0.0
        losses.clear()
        step(loss)

    tensor.backward, module.train = own_backward, own_train
    hook = register_optimizer_step_post_hook(stepped)
    try:
        yield
    finally:
        hook.remove()
        tensor.backward, module.train = backward, train
