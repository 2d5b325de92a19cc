"""A task's whole training step (forward, backward, update) compiled to one graph.

The graph takes parameters, optimizer state and learning rate as arguments, so that it is compiled
once for a process and serves every run: any batch size above one, and batch size one by a graph of
its own. Compilation changes rounding and nothing else; what would change more is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loss import as_loss
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.raised import text_of
from batchfront.objectives.training.clipping import clipped
from batchfront.objectives.training.optimizer import build_optimizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from batchfront.objectives.task import Data, Task

CHECKED_STEPS = 4
TOLERANCE = 1e-3  # relative, of losses and outputs after that many steps
RATES = (1e-2, 3e-3)  # two, so that a learning rate baked into the graph would show

CLIPPED = "clipped"  # in the state: clipped steps and all steps, which no optimizer looks at

Update = Callable[..., None]  # (params, grads, state, lr): changes params and state in place


@dataclass(frozen=True)
class BoundStep:
    """One model's training step, and its optimizer's state."""

    step: Callable[[Tensor, Tensor], Tensor]  # one batch -> its mean loss; trains in place
    state: dict[str, list[Tensor]]  # one tensor a parameter; changed in place

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The optimizer's state: by name, one tensor for each parameter."""
        return self.state

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Copy a state into the same memory: a graph knows its tensors by their addresses."""
        for name, tensors in self.state.items():
            for tensor, value in zip(tensors, state[name], strict=True):
                tensor.copy_(value)


class CompiledStep:
    """Compiles at construction, and compares the result with ordinary steps.

    Raises:
        ObjectiveError: the step draws random numbers, or cannot be compiled, or the optimizer is
            none that we can put into a graph, or the compiled step gives other results.
    """

    def __init__(self, task: Task, data: Data, *, device: str, clip: float | None = None) -> None:
        """`clip`: the largest norm of a step's gradient."""
        import torch

        self._task = task
        self._data = data
        self._device = device
        self._clip = clip
        self._checked: set[int] = set()
        with _forked_rng(device):
            torch.manual_seed(0)
            model = task.model().to(device).train()
            optimizer = build_optimizer(task, model, learning_rate=RATES[0], device=device)
            self._update, self._state_names = _update_rule(optimizer)
            self._step = self._compile(model)
            self._check(min(8, len(data.x_train)))

    def prepare(self, sizes: Collection[int]) -> None:
        """Compile what steps of these sizes need and is not there yet: before the clock starts."""
        if 1 in sizes:
            self._check(1)

    def bind(self, model: nn.Module, learning_rate: float) -> BoundStep:
        """A step that trains `model` in place."""
        import torch

        params = [p.detach() for p in model.parameters()]  # the same memory, without autograd
        state = {name: [torch.zeros_like(p) for p in params] for name in self._state_names}
        if "step" in state:
            state["step"] = [torch.zeros((), device=p.device) for p in params]
        if self._clip is not None:
            state[CLIPPED] = [torch.zeros(2, dtype=torch.int64, device=self._device)]
        rate = torch.tensor(learning_rate, device=self._device)
        if self._device.startswith("cuda"):  # else each replay would copy them into its graph
            for tensor in [*params, rate, *(t for some in state.values() for t in some)]:
                torch._dynamo.mark_static_address(tensor)
        return BoundStep(partial(self._step, params, state, rate), state)

    def _compile(self, template: nn.Module) -> Callable[..., Tensor]:
        import torch
        from torch.func import functional_call, grad_and_value

        names = [name for name, _ in template.named_parameters()]
        loss_of, update, clip = as_loss(self._task.loss), self._update, self._clip

        def loss_at(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return loss_of(functional_call(template, params, (x,)), y)

        def step(
            params: list[Tensor], state: dict[str, list[Tensor]], rate: Tensor, x: Tensor, y: Tensor
        ) -> Tensor:
            loss: Tensor
            grads, loss = grad_and_value(loss_at)(dict(zip(names, params, strict=True)), x, y)
            gradients = list(grads.values())
            if clip is not None:
                gradients = clipped(gradients, clip, state[CLIPPED][0])
            update(params, gradients, state, rate)
            return loss

        mode = "reduce-overhead" if self._device.startswith("cuda") else None  # CUDA graphs
        return torch.compile(step, fullgraph=True, mode=mode)

    def _check(self, size: int) -> None:
        """Compile for batches of `size` and compare with ordinary steps from the same start."""
        import torch

        if size in self._checked:
            return
        x = self._data.x_train[:size].to(self._device)
        y = self._data.y_train[:size].to(self._device)
        for rate in RATES:
            with _forked_rng(self._device):
                torch.manual_seed(0)
                expected = self._ordinary(x, y, rate)
                torch.manual_seed(0)
                found = self._compiled(x, y, rate)
            scale = expected.abs().max()
            if not torch.allclose(found / scale, expected / scale, rtol=TOLERANCE, atol=TOLERANCE):
                raise self._refusal("the compiled step gives other results than the ordinary one")
        self._checked.add(size)

    def _ordinary(self, x: Tensor, y: Tensor, rate: float) -> Tensor:
        """Losses of some steps and the model's outputs after them, in one vector."""
        import torch

        model = self._task.model().to(self._device).train()
        optimizer = build_optimizer(self._task, model, learning_rate=rate, device=self._device)
        before = _random_state(self._device)
        losses = []
        for _ in range(CHECKED_STEPS):
            optimizer.zero_grad()
            loss = as_loss(self._task.loss)(model(x), y)
            loss.backward()
            if self._clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), self._clip)
            optimizer.step()
            losses.append(loss.detach())
        if _random_state(self._device) != before:
            raise self._refusal("the step draws random numbers (dropout?), which would differ")
        return _seen(model, x, losses)

    def _compiled(self, x: Tensor, y: Tensor, rate: float) -> Tensor:
        import torch

        model = self._task.model().to(self._device).train()
        step = self.bind(model, rate).step
        x, y = x.clone(), y.clone()  # marks stay on a tensor
        if len(x) > 1:  # one graph for every size from here on
            torch._dynamo.mark_dynamic(x, 0)
            torch._dynamo.mark_dynamic(y, 0)
        try:
            losses = [step(x, y).clone() for _ in range(CHECKED_STEPS)]
        except Exception as error:  # compilers fail in many ways
            said = (text_of(error).strip() or type(error).__name__).splitlines()[0]
            raise self._refusal(f"its step does not compile: {said[:300]}") from error
        return _seen(model, x, losses)

    def _refusal(self, why: str) -> ObjectiveError:
        return ObjectiveError(f"--compile is refused for {self._task.name!r}: {why}; run without")


def _forked_rng(device: str) -> AbstractContextManager[None]:
    """Random numbers inside leave those of the CPU and of that device as they were."""
    import torch

    return torch.random.fork_rng(devices=[] if device.startswith("cpu") else [device])


def _seen(model: nn.Module, x: Tensor, losses: list[Tensor]) -> Tensor:
    import torch

    with torch.inference_mode():
        output = model.eval()(x).flatten()
    return torch.cat([torch.stack(losses).to(output.dtype), output])


def _random_state(device: str) -> list[bytes]:
    import torch

    states = [torch.get_rng_state()]
    if device.startswith("cuda"):
        states.append(torch.cuda.get_rng_state(device))
    return [state.numpy().tobytes() for state in states]


def _update_rule(optimizer: torch.optim.Optimizer) -> tuple[Update, tuple[str, ...]]:
    """torch's own update function with the optimizer's settings, and the names of its state.

    Raises:
        ObjectiveError: an optimizer other than SGD, Adam, AdamW, or with settings that would need
            more state than zeros to start from.
    """
    import torch

    kind, groups = type(optimizer), optimizer.param_groups
    group = groups[0]
    if len(groups) == 1 and kind is torch.optim.SGD and not group["dampening"]:
        return partial(_sgd, group), ("momentum_buffer",) if group["momentum"] else ()
    if len(groups) == 1 and kind in (torch.optim.Adam, torch.optim.AdamW) and not group["amsgrad"]:
        return partial(_adam, group), ("exp_avg", "exp_avg_sq", "step")
    raise ObjectiveError(
        f"--compile cannot put this {kind.__name__} into a graph: it knows SGD without dampening, "
        "and Adam and AdamW without amsgrad, with one parameter group; run without --compile"
    )


def _sgd(
    group: dict[str, Any],
    params: list[Tensor],
    grads: list[Tensor],
    state: dict[str, list[Tensor]],
    lr: Tensor,
) -> None:
    """A momentum buffer of zeros gives the same first step as torch's missing one."""
    from torch.optim.sgd import sgd

    keys = ("weight_decay", "momentum", "dampening", "nesterov", "maximize")
    buffers = state.get("momentum_buffer", [None] * len(params))
    sgd(params, grads, buffers, lr=lr, foreach=True, **{k: group[k] for k in keys})  # type: ignore[arg-type]


def _adam(
    group: dict[str, Any],
    params: list[Tensor],
    grads: list[Tensor],
    state: dict[str, list[Tensor]],
    lr: Tensor,
) -> None:
    """`capturable` keeps the step count, and what is computed from it, on the device."""
    from torch.optim.adam import adam

    beta1, beta2 = group["betas"]
    keys = ("weight_decay", "eps", "maximize", "amsgrad", "decoupled_weight_decay")
    adam(
        params,
        grads,
        state["exp_avg"],
        state["exp_avg_sq"],
        [],
        state["step"],
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        foreach=True,
        capturable=True,
        **{k: group[k] for k in keys},
    )
