"""The part of `Run` that takes optimizer steps: it counts them, and has their losses watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchfront.objectives.latched import Latched
from batchfront.objectives.measurement import ObjectiveError, Verdict
from batchfront.objectives.meters.divergence import DivergenceGuard
from batchfront.objectives.meters.limit import TimeLimit
from batchfront.objectives.meters.metered import Metered
from batchfront.objectives.meters.steps import MissingSteps


class Stepping(Latched, Metered):
    """Steps end a run whose loss diverges, or whose time is up."""

    def __init__(self, limit: TimeLimit | None) -> None:
        self._limit = limit
        self._guard: DivergenceGuard | None = None  # there is one once the run has begun
        self._steps = self._first_step = 0
        self._missing = MissingSteps()

    def step(self, loss: Any, n: int = 1) -> None:
        """Record an optimizer step's mean training loss, a float or a scalar tensor.

        Args:
            loss: of one step, or the mean of several.
            n: how many steps these are, where not each is reported.

        Raises:
            Stopped: the loss is non-finite, exploded or never left chance level; or time is up.
            ObjectiveError: `n` is no number of steps, or the loss no number.
        """
        self._raise_latched()
        if n < 1:
            raise ObjectiveError(f"run.step got n={n}, wanted optimizer steps, at least 1")
        self._meter.step(n)
        self._steps += n
        loss = loss.detach() if hasattr(loss, "detach") else loss
        for _ in range(n):
            verdict = self._begun().step(loss)
            if verdict is not None:
                self._stop(*verdict)
        if self._limit is not None and self._steps < self._begun().total_steps:
            self._check_time(self._limit)

    def steps(self, losses: Sequence[float]) -> None:
        """Record optimizer steps in a row, each with its mean loss; as `step` for each of them."""
        if self._limit is not None:
            for loss in losses:
                self.step(loss)
            return
        self._raise_latched()
        guard = self._begun()
        done = 0
        while done < len(losses):
            some = losses[done : done + guard.window_left]
            done += len(some)
            self._meter.step(len(some))
            self._steps += len(some)
            verdict = guard.several(some)
            if verdict is not None:
                self._stop(*verdict)

    def _check_time(self, limit: TimeLimit) -> None:
        """End the run where it has trained for longer than it may: as far as it came is known."""
        known = not self._missing.said and limit.step_seconds is not None
        spent = self._steps * (limit.step_seconds or 0.0) if known else self._clock.now()
        if spent > limit.seconds:
            self._stop(Verdict.OVER_BUDGET, limit.words(spent))

    @property
    def is_under_way(self) -> bool:
        """Whether it has taken a step here, rather than in the process that it goes on from."""
        return self._steps > self._first_step

    @property
    def misses_steps(self) -> bool:
        """Whether it has reported fewer steps than it announced."""
        return bool(self._missing.said)

    def _begun(self) -> DivergenceGuard:
        if self._guard is None:
            raise ObjectiveError(
                "the objective never called run.begin(total_steps): "
                "call it before the first training step"
            )
        return self._guard
