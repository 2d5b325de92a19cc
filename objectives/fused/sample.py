"""A small group of two seeds, to trace a step with and to try it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.randomness import held_states
from batchfront.objectives.fused.noise import generator_at
from batchfront.objectives.fused.numbers import in_rows
from batchfront.objectives.fused.places import Places
from batchfront.objectives.fused.setting import Setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SEEDS = (1, 2)
RATES = (1e-2, 3e-3)  # one a seed: a rate that both had would show
STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Two models by turns in all places, and what their first steps take."""

    made: list[tuple[nn.Module, torch.optim.Optimizer]]  # one a seed
    random: list[dict[str, Any]]  # states of the global generators once each was made
    generators: list[torch.Generator]  # one a place
    places: Places
    rows: Tensor  # (STEPS, R, W)
    x: Tensor  # (STEPS + 1, W, B, ...)
    y: Tensor


def sample_of(setting: Setting, width: int) -> Sample:
    """A group of that width, before its first step; seeds the global random numbers."""
    import torch

    made, random = [], []
    for seed, rate in zip(SEEDS, RATES, strict=True):
        made.append(setting.built(seed, rate))
        random.append(held_states(setting.objective.device))
    by_turns = [n % len(SEEDS) for n in range(width)]
    places = Places(setting.shape, width, made[0][0])
    for place, n in enumerate(by_turns):
        places.put(place, *made[n])
    batches = [batches_of(setting, n) for n in by_turns]
    x, y = (torch.stack(found, dim=1) for found in zip(*batches, strict=True))
    rows = in_rows(setting.shape, [made[n][1] for n in by_turns], STEPS)
    return Sample(
        made=made,
        random=random,
        generators=[generator_at(random[n]["torch"]) for n in by_turns],
        places=places,
        rows=rows.to(places.tensors[0]),
        x=x,
        y=y,
    )


def batches_of(setting: Setting, n: int) -> tuple[Tensor, Tensor]:
    """STEPS batches and one more of a seed, (STEPS + 1, B, ...)."""
    import torch

    size = setting.batch_size
    at = (torch.arange((STEPS + 1) * size) + n * size) % setting.n_train
    return setting.feed.gathered(at.view(-1, size))
