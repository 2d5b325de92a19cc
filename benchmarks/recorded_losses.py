"""Whole courses of real runs: every step's loss and every epoch's metric, for rules to judge."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from batchfront.objectives.fused.together import Together
from batchfront.objectives.measurement import Stopped, TrialParams, Verdict
from batchfront.objectives.run import Run

FAILED = 0.9  # of the constant predictor's loss
SKILLED = 0.1  # of the way from its metric to a perfect one


@dataclass(kw_only=True)
class Course:
    """One run to its end, or to the first loss or metric that is no number."""

    batch_size: int
    total_steps: int = 0
    baseline_loss: float | None = None
    baseline_metric: float | None = None
    epochs: list[tuple[list[float], float]] = field(default_factory=list)
    """The losses of each epoch's steps, and the metric after it."""

    @property
    def final(self) -> float:
        """The last metric; -inf when the run ended in no number."""
        metric = self.epochs[-1][1]
        return metric if math.isfinite(metric) else -math.inf

    @property
    def failed(self) -> bool:
        """No number in the end; or a final loss as of a constant predictor, and hardly a metric."""
        losses, metric = self.epochs[-1]
        if not math.isfinite(metric):
            return True
        loss, chance = self.baseline_loss, self.baseline_metric
        unlearned = loss is None or mean(losses) >= FAILED * loss
        return unlearned and (chance is None or metric < chance + SKILLED * (1 - chance))


class Recording(Run):
    """Trains on whatever the guard would say, and notes all it is told."""

    def __init__(self, course: Course, **options: Any) -> None:
        super().__init__(measure_memory=False, **options)
        self._course = course
        self._losses: list[float] = []  # of this epoch

    def begin(
        self,
        total_steps: int,
        baseline_loss: float | None = None,
        baseline_metric: float | None = None,
    ) -> None:
        super().begin(total_steps, baseline_loss, baseline_metric)
        self._course.total_steps = total_steps
        self._course.baseline_loss = baseline_loss
        self._course.baseline_metric = baseline_metric

    def step(self, loss: Any, n: int = 1) -> None:
        self._raise_latched()
        value = float(loss.detach() if hasattr(loss, "detach") else loss)
        self._losses.append(value)
        if not math.isfinite(value):
            self._close(math.nan)

    def steps(self, losses: Sequence[float]) -> None:
        for loss in losses:
            self.step(loss)

    def report(self, val_accuracy: float, **others: Any) -> None:
        self._raise_latched()
        self._close(float(val_accuracy))

    def _close(self, metric: float) -> None:
        self._course.epochs.append((self._losses, metric))
        self._losses = []
        if not math.isfinite(metric):
            self._stop(Verdict.NON_FINITE, "no number")


def recorded(objective: Any, group: Sequence[TrialParams], *, together: bool) -> list[Course]:
    """Train each once: as one vectorised run where that is wanted and can be."""
    courses = [Course(batch_size=params.batch_size) for params in group]
    runs = [Recording(course, metric=objective.metric) for course in courses]
    pairs = list(zip(group, runs, strict=True))
    together = together and not Together(objective).why_not(group)
    if together:
        for error in filter(None, Together(objective).carry_out(pairs)):
            raise error
    for params, run in [] if together else pairs:
        with run, suppress(Stopped):
            objective(params, run)
    return courses


def read(path: Path) -> list[Course] | None:
    """What `keep` wrote to this file; None where there is none."""
    return pickle.loads(path.read_bytes()) if path.exists() else None  # noqa: S301


def keep(courses: Sequence[Course], path: Path) -> None:
    """Write them to a file, to be judged again in a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(list(courses)))
