"""One training step of several models, traced once to a graph of operators without autograd.

`vmap` alone decides anew at every step what each operator becomes over several models, which takes
longer than most operators do. So a step is traced once for a number of models and a batch size,
and what was found is run again and again.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.fused.leaner import lean
from batchfront.objectives.fused.noise import Noise, noise_of
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.script import Step, as_script
from batchfront.objectives.raised import text_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from batchfront.objectives.fused.shape import Shape

SAID = 200  # letters of what a tracer says


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A step of `width` models."""

    step: Step  # (*tensors, numbers, x, y, *what is drawn) -> losses (W,); trains in place
    noise: Noise
    width: int
    batch_size: int
    seconds: float  # of the CPU, to trace it

    def take(
        self,
        tensors: Sequence[Tensor],
        numbers: Tensor,
        x: Tensor,
        y: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        """Train all models by a step, each with random numbers of its own generator; losses."""
        return self.step(*tensors, numbers, x, y, *self.noise.drawn(generators))


def traced(
    template: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    shape: Shape,
    tensors: Sequence[Tensor],
    numbers: Tensor,
    x: Tensor,
    y: Tensor,
) -> Traced:
    """Trace a step; nothing that is given changes.

    Args:
        template: a model in training mode; its own tensors are not used.
        tensors: as `shape.split` has them, (W, ...) each.
        numbers: (R, W), the rule's numbers of each parameter group.
        x, y: (W, B, ...).

    Raises:
        Refused: the step depends on values, or draws random numbers other than dropout's, or has
            what no tracer knows.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from batchfront.objectives.fused.recorder import recorded

    given = [tensor.clone() for tensor in (*tensors, numbers, x, y)]
    since = time.process_time()
    try:
        # Other kernels of attention have no rule for several models.
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # which is measured
            found = recorded(_step(template, loss_of, shape), given)
    except Exception as error:  # tracers refuse in many ways
        said = (text_of(error).strip() or type(error).__name__).splitlines()[0]
        raise Refused(f"its step cannot be traced for several models: {said[:SAID]}") from error
    noise = noise_of(found.graph, len(x), x.device.type)
    lean(found.graph, found.constants)
    step: Step | None = None
    if not x.is_cuda:
        with suppress(RuntimeError, NotImplementedError):  # Python runs it too, only slower
            step = as_script(found.graph, found.constants)
    step = step or found.in_python()
    seconds = time.process_time() - since
    return Traced(step=step, noise=noise, width=len(x), batch_size=x.shape[1], seconds=seconds)


def _step(
    template: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor], shape: Shape
) -> Callable[..., Tensor]:
    from torch.func import functional_call, grad_and_value, vmap

    def loss_at(
        trained: dict[str, Tensor], held: dict[str, Tensor], x: Tensor, y: Tensor
    ) -> Tensor:
        return loss_of(functional_call(template, (trained, held), (x,)), y)

    def step(*given: Tensor) -> Tensor:
        *tensors, numbers, x, y = given
        params, held, states = shape.split(tensors)
        named = dict(zip(shape.trained, params, strict=True))
        buffers = dict(zip(shape.held, held, strict=True))
        losses: Tensor
        each = vmap(grad_and_value(loss_at), randomness="different")
        grads, losses = each(named, buffers, x, y)
        _update(shape, params, [grads[name] for name in shape.trained], states, numbers)
        return losses

    return step


def _update(
    shape: Shape,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    states: Sequence[list[Tensor]],
    numbers: Tensor,
) -> None:
    names = names_of(shape.rule)
    rows = numbers.unbind(0)
    for param, grad, state, group in zip(params, grads, states, shape.groups, strict=True):
        wide = [-1] + [1] * (param.ndim - 1)  # (W, 1, ...)
        mine = rows[group * len(names) : (group + 1) * len(names)]
        at: dict[str, Any] = {name: row.view(wide) for name, row in zip(names, mine, strict=True)}
        shape.rule.update(param, grad, state, at)


def names_of(rule: Any) -> tuple[str, ...]:
    """The names of a rule's numbers, in the order of their rows."""
    import torch

    one = dict.fromkeys(rule.read, torch.full((), 0.5, dtype=torch.float64))
    return tuple(rule.numbers(one, torch.ones((), dtype=torch.float64)))
