"""The optimizers that train several models at once, each model at its own rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from batchfront.objectives.fused.refusal import Refused

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Numbers = Mapping[str, "Tensor"]  # by name, one for each model
State = list["Tensor"]


class Rule(Protocol):
    """One optimizer's step. It is hashable: two that are equal take the same step."""

    @property
    def read(self) -> tuple[str, ...]:
        """The numbers of a parameter group that may differ from model to model, and by step."""

    @property
    def state(self) -> tuple[str, ...]:
        """The names of its state, as torch's optimizer has them; each begins with zeros."""

    @property
    def counts(self) -> bool:
        """Whether torch's state holds the number of steps, too."""

    def numbers(self, read: Numbers, step: Tensor) -> dict[str, Tensor]:
        """What a step takes, from what was read and the step's number from 1; all float64."""

    def update(self, param: Tensor, grad: Tensor, state: State, at: Numbers) -> None:
        """Change parameter and state in place; (W, ...) each, and numbers that broadcast."""


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """torch.optim.SGD without dampening."""

    momentum: bool
    nesterov: bool
    maximize: bool
    weight_decay: bool
    counts = False

    @property
    def read(self) -> tuple[str, ...]:
        return "lr", "momentum", "weight_decay"

    @property
    def state(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.momentum else ()

    def numbers(self, read: Numbers, step: Tensor) -> dict[str, Tensor]:
        return {"move": -read["lr"], **{name: read[name] for name in self.read[1:]}}

    def update(self, param: Tensor, grad: Tensor, state: State, at: Numbers) -> None:
        grad = _with_decay(self, param, grad, at)
        if self.momentum:  # zeros give the first step of torch's missing buffer
            (buffer,) = state
            buffer.mul_(at["momentum"]).add_(grad)
            grad = grad.addcmul(buffer, at["momentum"]) if self.nesterov else buffer
        param.addcmul_(grad, at["move"])


@dataclass(frozen=True, kw_only=True)
class Adam:
    """torch.optim.Adam and AdamW without amsgrad (arXiv:1412.6980, arXiv:1711.05101)."""

    maximize: bool
    weight_decay: bool
    decoupled: bool
    counts = True

    @property
    def read(self) -> tuple[str, ...]:
        return "lr", "beta1", "beta2", "eps", "weight_decay"

    @property
    def state(self) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def numbers(self, read: Numbers, step: Tensor) -> dict[str, Tensor]:
        beta1, beta2 = read["beta1"], read["beta2"]
        return {
            "move": -read["lr"] / (1 - beta1**step),
            "spread": (1 - beta2**step).sqrt(),
            "new1": 1 - beta1,
            "beta2": beta2,
            "new2": 1 - beta2,
            "eps": read["eps"],
            "weight_decay": read["weight_decay"],
            "stays": 1 - read["lr"] * read["weight_decay"],
        }

    def update(self, param: Tensor, grad: Tensor, state: State, at: Numbers) -> None:
        mean, square = state
        if self.decoupled:
            grad = -grad if self.maximize else grad
            if self.weight_decay:
                param.mul_(at["stays"])
        else:
            grad = _with_decay(self, param, grad, at)
        mean.lerp_(grad, at["new1"].expand_as(mean))
        square.mul_(at["beta2"]).addcmul_(grad * at["new2"], grad)
        param.addcmul_(mean / ((square.sqrt() / at["spread"]) + at["eps"]), at["move"])


@dataclass(frozen=True, kw_only=True)
class RmsProp:
    """torch.optim.RMSprop."""

    momentum: bool
    centered: bool
    maximize: bool
    weight_decay: bool
    counts = True

    @property
    def read(self) -> tuple[str, ...]:
        return "lr", "alpha", "eps", "momentum", "weight_decay"

    @property
    def state(self) -> tuple[str, ...]:
        names = {"momentum_buffer": self.momentum, "grad_avg": self.centered}
        return "square_avg", *(name for name, there in names.items() if there)

    def numbers(self, read: Numbers, step: Tensor) -> dict[str, Tensor]:
        kept = {name: read[name] for name in self.read[1:]}
        return {"move": -read["lr"], "new": 1 - read["alpha"], **kept}

    def update(self, param: Tensor, grad: Tensor, state: State, at: Numbers) -> None:
        held = dict(zip(self.state, state, strict=True))
        grad, square = _with_decay(self, param, grad, at), held["square_avg"]
        square.mul_(at["alpha"]).addcmul_(grad * at["new"], grad)
        spread = square
        if self.centered:
            mean = held["grad_avg"]
            mean.lerp_(grad, at["new"].expand_as(mean))
            spread = square - mean * mean
        moved = grad / (spread.sqrt() + at["eps"])
        if self.momentum:
            moved = held["momentum_buffer"].mul_(at["momentum"]).add_(moved)
        param.addcmul_(moved, at["move"])


def _with_decay(rule: Any, param: Tensor, grad: Tensor, at: Numbers) -> Tensor:
    grad = -grad if rule.maximize else grad
    return grad.addcmul(param, at["weight_decay"]) if rule.weight_decay else grad


def rule_of(optimizers: Sequence[torch.optim.Optimizer]) -> Rule:
    """The step that all of them take.

    Raises:
        Refused: they are none that are known here, or differ in more than numbers.
    """
    import torch

    kinds = {type(optimizer) for optimizer in optimizers}
    known = {torch.optim.SGD: Sgd, torch.optim.Adam: Adam, torch.optim.AdamW: Adam}
    rule = {**known, torch.optim.RMSprop: RmsProp}.get(next(iter(kinds)))
    if len(kinds) > 1 or rule is None:
        raise Refused(
            f"{' and '.join(sorted(kind.__name__ for kind in kinds))}: it knows SGD, Adam, AdamW "
            "and RMSprop"
        )
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    for name in ("dampening", "amsgrad"):
        if any(group.get(name) for group in groups):
            raise Refused(f"an optimizer with {name}")
    if any(_hooked(optimizer) for optimizer in optimizers):
        raise Refused("an optimizer with hooks or a step of its own")
    names = [one.name for one in fields(rule)]
    made: Rule = rule(**{name: _flag(groups, name) for name in names})
    return made


def _flag(groups: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether some have it; of what is no number all must have it, or none."""
    name = {"decoupled": "decoupled_weight_decay"}.get(name, name)
    found = [bool(group.get(name)) for group in groups]
    if len(set(found)) > 1 and name not in ("momentum", "weight_decay"):
        raise Refused(f"parameters with and without {name}")
    return any(found)


def _hooked(optimizer: torch.optim.Optimizer) -> bool:
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    step = vars(optimizer).get("step")  # a scheduler wraps it, to count
    own = step is not None and not hasattr(step, "_wrapped_by_lr_sched")
    return own or any(getattr(optimizer, name) for name in hooks)


def numbers_in(group: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    """The numbers of these names in one of an optimizer's parameter groups."""
    betas = dict(zip(("beta1", "beta2"), group.get("betas", ()), strict=False))
    return [float({**group, **betas}[name]) for name in names]
