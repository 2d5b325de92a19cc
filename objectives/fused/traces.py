"""Traced steps, kept for as long as the process trains: one a width and setting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from batchfront.objectives.device.randomness import held_states, restore_random_states
from batchfront.objectives.fused.check import check
from batchfront.objectives.fused.gain import gain
from batchfront.objectives.fused.graph import Traced, traced
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.sample import RATES, SEEDS, sample_of
from batchfront.objectives.fused.setting import Setting


class Traces:
    """Those of one objective; each was compared with ordinary steps before it is handed out."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Traced] = {}
        self._kept: dict[tuple[Any, ...], Traced] = {}  # of these, as ordinary steps are
        self._refused: dict[tuple[Any, ...], str] = {}
        self._gains: dict[tuple[Any, ...], float] = {}
        self.seconds = 0.0  # of the CPU, for all of them

    def step(self, setting: Setting, width: int) -> Traced:
        """The step of so many models.

        Raises:
            Refused: it cannot be traced, or is not what ordinary steps are.
        """
        key = (setting.key, width)
        if key not in self._kept:
            with self._refusing(setting):
                step = self._traced(setting, width)
                check(step, setting)
            self._kept[key] = step
        return self._kept[key]

    def step_for(self, setting: Setting, n_models: int) -> Traced:
        """A step of at least so many models: one that is there, if it is not twice as wide.

        Raises:
            Refused: as `step`.
        """
        there = [width for width in self.widths(setting) if n_models <= width < 2 * n_models]
        return self.step(setting, there[0] if there else n_models)

    def gain(self, setting: Setting, width: int) -> float:
        """The times by which a run is quicker among so many; measured once, before all else.

        Raises:
            Refused: it cannot be traced.
        """
        key = (setting.key, width)
        if key not in self._gains:
            with self._refusing(setting):
                self._gains[key] = gain(self._traced(setting, width), setting)
        return self._gains[key]

    def widths(self, setting: Setting) -> list[int]:
        """The widths that are there, ascending."""
        return sorted(width for key, width in self._kept if key == setting.key)

    @contextmanager
    def _refusing(self, setting: Setting) -> Iterator[None]:
        """Remember what is refused: it would be at every width."""
        if setting.key in self._refused:
            raise Refused(self._refused[setting.key])
        try:
            yield
        except Refused as refused:
            self._refused[setting.key] = str(refused)
            raise

    def _traced(self, setting: Setting, width: int) -> Traced:
        key = (setting.key, width)
        if key not in self._made:
            self._made[key] = self._trace(setting, width)
            self.seconds += self._made[key].seconds
        return self._made[key]

    def _trace(self, setting: Setting, width: int) -> Traced:
        device = setting.objective.device
        states = held_states(device)
        try:
            sample = sample_of(setting, width)
            template, _ = setting.built(SEEDS[0], RATES[0])
            loss_of = setting.objective.loss.scalar
            given = sample.rows[0], sample.x[0], sample.y[0]
            return traced(template, loss_of, setting.shape, sample.places.tensors, *given)
        finally:
            restore_random_states(states, device)
