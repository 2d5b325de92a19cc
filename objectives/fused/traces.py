"""Traced steps, kept for as long as the process trains: one a width and setting."""

from __future__ import annotations

from typing import Any

from batchfront.objectives.device.randomness import random_states, restore_random_states
from batchfront.objectives.fused.check import check
from batchfront.objectives.fused.gain import gain
from batchfront.objectives.fused.graph import Traced, traced
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.sample import RATES, SEEDS, sample_of
from batchfront.objectives.fused.setting import Setting


class Traces:
    """Those of one objective; each was compared with ordinary steps before it is handed out."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Traced] = {}
        self._refused: dict[tuple[Any, ...], str] = {}
        self._gains: dict[tuple[Any, ...], float] = {}
        self.seconds = 0.0  # of the CPU, for all of them

    def step(self, setting: Setting, width: int) -> Traced:
        """The step of so many models.

        Raises:
            Refused: it cannot be traced, or is not what ordinary steps are.
        """
        if setting.key in self._refused:
            raise Refused(self._refused[setting.key])
        key = (setting.key, width)
        if key not in self._kept:
            try:
                self._kept[key] = self._made(setting, width)
            except Refused as refused:
                self._refused[setting.key] = str(refused)
                raise
        return self._kept[key]

    def gain(self, setting: Setting, width: int) -> float:
        """The times by which a run is quicker among so many; measured once.

        Raises:
            Refused: as `step`.
        """
        step = self.step(setting, width)
        key = (setting.key, width)
        if key not in self._gains:
            self._gains[key] = gain(step, setting)
        return self._gains[key]

    def widths(self, setting: Setting) -> list[int]:
        """The widths that are there, ascending."""
        return sorted(width for key, width in self._kept if key == setting.key)

    def _made(self, setting: Setting, width: int) -> Traced:
        device = setting.objective.device
        states = random_states(device)
        try:
            sample = sample_of(setting, width)
            template, _ = setting.built(SEEDS[0], RATES[0])
            loss_of = setting.objective.loss.scalar
            given = sample.rows[0], sample.x[0], sample.y[0]
            step = traced(template, loss_of, setting.shape, sample.places.tensors, *given)
        finally:
            restore_random_states(states, device)
        check(step, setting)
        self.seconds += step.seconds
        return step
