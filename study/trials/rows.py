"""The runs of a study as evidence: one row a trial, whatever ended it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import TO_TARGET, Phase
from batchfront.study.trials.attributes import (
    CURVE,
    HARDWARE,
    MINIMIZED,
    PREDICTED,
    PURPOSE,
    REASON,
    SCHEDULE,
    SCORE_TEST,
    VERDICT,
    batch_size_of,
    has_batch_size,
    is_feasible,
    is_finished,
    length_of,
    phases_of,
    rate_of,
    values_by_name,
)
from batchfront.study.trials.outcome import grid_stride, share_taken

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One trial. What was not recorded is None; a run that was stopped has no metric.

    Imported runs may lack any objective, and may say to-target figures instead of curves.
    """

    number: int
    batch_size: int
    learning_rate: float  # that it was trained with
    seed: int | None
    hardware: str | None
    purpose: str | None  # what a protocol asked it for; None: the search
    waits: bool  # it is queued, or runs
    finished: bool  # it says something; one that neither waits nor is finished was lost
    feasible: bool  # completed within the budgets
    verdict: str | None
    reason: str | None  # of a run that was stopped or failed
    score_test: bool  # it was to be scored on the test split
    metric: float | None  # as told, of a completed run
    curve: tuple[float, ...]  # the metric after every `stride` points, as a rule epochs
    stride: int
    epochs: float | None  # planned; None where nobody knows the examples of one
    total_steps: int | None  # planned
    share: float | None = None  # of these that it took; None or 1 unless it completed early
    phases: tuple[Phase, ...] = ()  # of one that started at `batch_size` and grew; else none
    train_seconds: float | None  # of the whole run
    peak_memory_bytes: int | None
    train_loss: float | None
    test_metric: float | None
    generalization_gap: float | None
    n_spikes: int | None
    epochs_to_target: float | None  # as recorded, for the target of those who recorded it
    steps_to_target: float | None
    examples_to_target: float | None
    tokens_to_target: float | None = None
    length: Length | None = None  # planned

    @property
    def points(self) -> int | None:
        """The points of a whole run's curve: its epochs, or what it was evaluated after."""
        if self.length is not None:
            return self.length.points
        return None if self.epochs is None else int(self.epochs)

    def points_to(self, target: float) -> int | None:
        """The first recorded point whose metric is at least `target`, or the last one."""
        reached = (n for n, value in enumerate(self.curve, 1) if value >= target)
        first = next(reached, None)
        if first is not None:
            return first * self.stride
        # Curves are thinned and rounded: what they do not show, the metric of the end may.
        at_end = self.curve and self.metric is not None and self.metric >= target
        return self._points_taken if at_end else None

    @property
    def _points_taken(self) -> int | None:
        return None if self.points is None else max(1, round((self.share or 1) * self.points))

    def epochs_to(self, target: float) -> float | None:
        """The epochs that it took: whole ones, where it was evaluated after each of them."""
        taken = self.points_to(target)
        if self.length is None or self.length.is_plain or taken is None:
            return taken
        return None if self.epochs is None else self.epochs * taken / self.length.points

    def examples_to(self, target: float) -> float | None:
        """The examples that it took; None where epochs are all that is known."""
        taken = self.points_to(target)
        if self.length is None or self.length.counts_steps:
            steps = self.steps_until(taken)
            return None if self.length is None else _times(steps, self.mean_batch)
        return None if taken is None else _times(self.length.examples, taken / self.length.points)

    def tokens_to(self, target: float) -> float | None:
        """The tokens that it took, where runs are given tokens."""
        taken = self.points_to(target)
        if self.length is None or self.length.unit != "tokens" or taken is None:
            return None
        return self.length.amount * taken / self.length.points

    @property
    def examples(self) -> float | None:
        """Those of a whole run; None where it was given epochs, which do not say."""
        return None if self.length is None else self.length.examples_of(self.batch_size)

    @property
    def mean_batch(self) -> float:
        """Examples in a step, over the whole run."""
        steps = sum(phase.steps for phase in self.phases)
        examples = sum(phase.steps * phase.batch_size for phase in self.phases)
        return examples / steps if steps else self.batch_size

    @property
    def steps(self) -> float | None:
        """Optimizer steps that it took, or would have taken if it had not been stopped."""
        return None if self.total_steps is None else (self.share or 1) * self.total_steps

    @property
    def steps_per_point(self) -> float | None:
        """Optimizer steps up to a point of the curve, as a rule of an epoch, at `batch_size`."""
        if self.total_steps and self.phases:
            return self.phases[0].steps / self.phases[0].epochs
        return self.total_steps / self.points if self.total_steps and self.points else None

    def steps_until(self, points: int | None) -> float | None:
        """Optimizer steps up to a point of the curve."""
        if points is None or self.steps_per_point is None:
            return None
        steps = 0.0
        for phase in self.phases:
            n = min(points, phase.epochs)
            steps += n * phase.steps / phase.epochs
            points -= n
        return steps + points * self.steps_per_point

    @property
    def point_seconds(self) -> float | None:
        """Training seconds up to a point from the one before, on average."""
        taken = self._points_taken
        return self.train_seconds / taken if self.train_seconds and taken else None

    @property
    def epoch_seconds(self) -> float | None:
        """Training seconds of one epoch, on average; None where none is known."""
        if self.point_seconds is None or self.points is None or not self.epochs:
            return None
        return self.point_seconds * self.points / self.epochs


def _times(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a * b


def runs_of(
    trials: Iterable[FrozenTrial], metric_names: Sequence[str], *, schedule: str | None = None
) -> list[RunRow]:
    """The runs that know their batch size and learning rate, also those that wait or run.

    Metrics are as the trials have them: what decides is given `standard` ones. `metric_names`: the
    study's, in its order. `schedule`: only runs that a protocol asked for with
    another schedule of the batch size than the study's; None: only the others.
    """
    own = (trial for trial in trials if trial.user_attrs.get(SCHEDULE) == schedule)
    asked = ((trial, _params(trial)) for trial in own)
    return [_row(trial, params, metric_names) for trial, params in asked if params is not None]


def _params(trial: FrozenTrial) -> tuple[int, float] | None:
    params = trial.params or trial.system_attrs.get("fixed_params", {})  # of one that waits
    if not has_batch_size(params) or "learning_rate" not in params:
        return None
    return batch_size_of(params), rate_of(trial, params)


def _row(trial: FrozenTrial, params: tuple[int, float], names: Sequence[str]) -> RunRow:
    attributes = trial.user_attrs
    values = values_by_name(trial, names)
    known = getattr(names, "metric", None)
    usual = next((name for name in names if name not in MINIMIZED), "")
    metric = usual if known is None else known.name
    length = length_of(attributes)
    return RunRow(
        number=trial.number,
        batch_size=params[0],
        learning_rate=params[1],
        seed=attributes.get("seed"),
        hardware=attributes.get(HARDWARE),
        purpose=attributes.get(PURPOSE),
        waits=not trial.state.is_finished(),
        finished=is_finished(trial) or bool(attributes.get(PREDICTED)),
        feasible=is_feasible(trial),
        verdict=attributes.get(VERDICT),
        reason=attributes.get(REASON),
        score_test=bool(attributes.get(SCORE_TEST)),
        metric=values.get(metric),
        curve=tuple(attributes.get(CURVE) or ()),
        stride=grid_stride(length.points if length else 1),
        length=length,
        epochs=None if length is None else length.epochs_of(params[0]),
        total_steps=attributes.get("total_steps"),
        share=share_taken(trial),
        phases=phases_of(trial),
        train_seconds=values.get("train_seconds"),
        peak_memory_bytes=values.get("peak_memory_bytes"),
        train_loss=attributes.get("train_loss"),
        test_metric=attributes.get("test_metric"),
        generalization_gap=attributes.get("generalization_gap"),
        n_spikes=attributes.get("n_spikes"),
        **{name: attributes.get(name) for name in TO_TARGET},
    )
