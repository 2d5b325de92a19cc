"""The runs of a study as evidence: one row a trial, whatever ended it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    metric: float | None  # accuracy or R2 of the last epoch, of a completed run
    curve: tuple[float, ...]  # the metric after every `stride` epochs
    stride: int
    epochs: int | None  # planned
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

    def epochs_to(self, target: float) -> int | None:
        """The first recorded epoch whose metric is at least `target`, or the last one."""
        reached = (n for n, value in enumerate(self.curve, 1) if value >= target)
        first = next(reached, None)
        if first is not None:
            return first * self.stride
        # Curves are thinned and rounded: what they do not show, the metric of the end may.
        at_end = self.curve and self.metric is not None and self.metric >= target
        return self._epochs_taken if at_end else None

    @property
    def _epochs_taken(self) -> int | None:
        return None if self.epochs is None else max(1, round((self.share or 1) * self.epochs))

    @property
    def steps(self) -> float | None:
        """Optimizer steps that it took, or would have taken if it had not been stopped."""
        return None if self.total_steps is None else (self.share or 1) * self.total_steps

    @property
    def steps_per_epoch(self) -> float | None:
        """Optimizer steps, at `batch_size`."""
        if self.total_steps and self.phases:
            return self.phases[0].steps / self.phases[0].epochs
        return self.total_steps / self.epochs if self.total_steps and self.epochs else None

    def steps_until(self, epochs: int | None) -> float | None:
        """Optimizer steps of the first epochs."""
        if epochs is None or self.steps_per_epoch is None:
            return None
        steps = 0.0
        for phase in self.phases:
            n = min(epochs, phase.epochs)
            steps += n * phase.steps / phase.epochs
            epochs -= n
        return steps + epochs * self.steps_per_epoch

    @property
    def epoch_seconds(self) -> float | None:
        """Training seconds of one epoch, on average."""
        taken = self._epochs_taken
        return self.train_seconds / taken if self.train_seconds and taken else None


def runs_of(
    trials: Iterable[FrozenTrial], metric_names: Sequence[str], *, schedule: str | None = None
) -> list[RunRow]:
    """The runs that know their batch size and learning rate, also those that wait or run.

    `metric_names`: the study's, in its order. `schedule`: only runs that a protocol asked for with
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
    metric = next((name for name in names if name not in MINIMIZED), "")
    epochs = attributes.get("epochs")
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
        stride=grid_stride(epochs or 1),
        epochs=epochs,
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
