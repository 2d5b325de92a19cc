"""Rules that look at the training loss alone: ours, and what others have."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

from batchfront.objectives.meters.divergence import DivergenceGuard


class Rule(Protocol):
    """Says once that a run should stop."""

    def step(self, loss: float) -> bool:
        """Whether the run should stop after this step; its loss is finite."""

    def report(self, metric: float) -> bool:
        """Whether the run should stop after this epoch."""


class Guard:
    """Our own rule."""

    def __init__(self, total_steps: int, loss: float | None, metric: float | None) -> None:
        self._guard = DivergenceGuard(
            total_steps=total_steps, baseline_loss=loss, baseline_metric=metric
        )

    def step(self, loss: float) -> bool:
        return self._guard.step(loss) is not None

    def report(self, metric: float) -> bool:
        return self._guard.report(metric) is not None


class NanOnly:
    """What most training scripts have; non-finite losses end a run for every rule."""

    def step(self, loss: float) -> bool:
        return False

    def report(self, metric: float) -> bool:
        return not math.isfinite(metric)


class FourTimesBest(NanOnly):
    """The rule of Lightning's and fastai's rate finders: a smoothed loss above 4 times its best."""

    smoothing = 0.98

    def __init__(self) -> None:
        self._mean = self._best = 0.0
        self._steps = 0

    def step(self, loss: float) -> bool:
        self._steps += 1
        self._mean = self.smoothing * self._mean + (1 - self.smoothing) * loss
        smoothed = self._mean / (1 - self.smoothing**self._steps)
        if self._steps == 1 or smoothed < self._best:
            self._best = smoothed
        return smoothed > 4 * self._best


class TwiceTheWindow(NanOnly):
    """The rule of llm-foundry: 5 losses in a row at least twice the mean of the last 100."""

    window, factor, patience = 100, 2.0, 5

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=self.window)
        self._sum = 0.0
        self._streak = 0

    def step(self, loss: float) -> bool:
        full = len(self._last) == self.window
        outlier = full and loss >= self.factor * self._sum / self.window
        self._streak = self._streak + 1 if outlier else 0
        self._sum += loss - (self._last[0] if full else 0.0)
        self._last.append(loss)
        return self._streak >= self.patience
