"""Compares steps that several models take at once with ordinary steps, before a run relies on them.

A step is traced with one model, so that whatever it does outside of parameters and buffers would be
done alike for all, at every step: a constant that each model draws for itself, a counter in Python,
a buffer that is replaced rather than written into.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.device.randomness import held_states, restore_random_states
from batchfront.objectives.fused.graph import Traced
from batchfront.objectives.fused.places import named_tensors
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.sample import RATES, SEEDS, STEPS, batches_of, sample_of
from batchfront.objectives.fused.setting import Setting

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 1e-3  # relative, of losses and outputs
CHANGED = 0.1  # of its own change, a buffer's: what Adam makes of rounding reaches it


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a model showed in STEPS steps, and after them."""

    losses: Tensor  # (STEPS,)
    output: Tensor  # in training, of one more batch
    random: list[bytes]  # the states of the global generators after all this
    buffers: dict[str, Tensor]
    before: dict[str, Tensor]


def check(step: Traced, setting: Setting) -> None:
    """Raise Refused where the traced step gives other results than ordinary steps.

    Two models of different seeds stand in all places by turns. Global random numbers are afterwards
    as before.
    """
    device = setting.objective.device
    states = held_states(device)
    try:
        ordinary = [_ordinary(setting, n) for n in range(len(SEEDS))]
        together = _together(step, setting)
    finally:
        restore_random_states(states, device)
    for expected, found in zip(ordinary, together, strict=True):
        _compare(expected, found)


def _compare(expected: Shown, found: Shown) -> None:
    import torch

    for one, other in ((expected.losses, found.losses), (expected.output, found.output)):
        scale = one.abs().max()
        if not torch.allclose(one / scale, other / scale, rtol=TOLERANCE, atol=TOLERANCE):
            raise Refused("its steps give other results when several models take them at once")
    if expected.random != found.random:
        raise Refused("its steps draw other random numbers when several models take them at once")
    for name, one in expected.buffers.items():
        start, other = expected.before[name].double(), found.buffers[name].double()
        change = (one.double() - start).abs().max() if one.numel() else 0
        if one.numel() and (one.double() - other).abs().max() > CHANGED * change + 1e-6:
            raise Refused(f"its buffer {name} becomes another when several models train at once")


def _ordinary(setting: Setting, n: int) -> Shown:
    import torch

    model, optimizer = setting.built(SEEDS[n], RATES[n])
    x, y = batches_of(setting, n)
    before, losses = _buffers(model), []
    for k in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss = setting.objective.loss.scalar(model(x[k]), y[k])
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    if any(p.grad is None for p in model.parameters() if p.requires_grad):
        raise Refused("parameters that get no gradient")
    if any(p.grad is not None and p.grad.is_sparse for p in model.parameters()):
        raise Refused("sparse gradients")
    buffers = _buffers(model)
    with torch.no_grad():
        output = model(x[STEPS])
    return Shown(
        losses=torch.stack(losses),
        output=output,
        buffers=buffers,
        before=before,
        random=_drawn(setting),
    )


def _drawn(setting: Setting) -> list[bytes]:
    """The state of all random generators, as something to compare."""
    states = held_states(setting.objective.device)
    numpy, python = states.pop("numpy"), states.pop("python")
    others = [state.cpu().numpy().tobytes() for state in states.values()]
    return [*others, pickle.dumps(numpy), pickle.dumps(python)]


def _together(step: Traced, setting: Setting) -> list[Shown]:
    import torch

    sample = sample_of(setting, step.width)
    before = [_buffers(model) for model, _ in sample.made]
    with torch.no_grad():
        losses = torch.stack(
            [
                step.take(sample.places.tensors, *now, sample.generators)
                for now in zip(sample.rows, sample.x[:STEPS], sample.y[:STEPS], strict=True)
            ]
        )
    found = []
    for n, (model, _) in enumerate(sample.made):
        sample.places.take(n, named_tensors(model))
        buffers = _buffers(model)
        drawn = {**sample.random[n], "torch": sample.generators[n].get_state()}
        restore_random_states(drawn, setting.objective.device)
        with torch.no_grad():
            output = model(sample.x[STEPS, n])
        found.append(
            Shown(
                losses=losses[:, n],
                output=output,
                buffers=buffers,
                before=before[n],
                random=_drawn(setting),
            )
        )
    return found


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}
