"""What goes into one training run and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import accumulate
from typing import Any, NamedTuple

from batchfront.objectives.length import Length

TO_TARGET = ("epochs_to_target", "steps_to_target", "examples_to_target", "tokens_to_target")


class ObjectiveError(Exception):
    """A task, its data or its training loop is not usable; the message says what to change."""


class MetricError(ObjectiveError):
    """A loop reports no metric, another than the study's, or a value that there cannot be."""


DIAGNOSTICS = ("distance", "sharpness")

NOT_SUGGESTED = "not_suggested"  # searched parameters that a script's run did not ask for

TECHNIQUE_FACTS = (  # of runs that a recipe changed, each only where it applies
    "micro_batch_size",  # examples of one forward and backward pass
    "precision",
    "statistics_batch_size",  # examples that share batch-norm statistics
    "batch_norm_micro",  # true: these are fewer than the batch has, since its gradient accumulates
    "scaler_overflows",  # steps that a gradient scaler skipped
    "clipped_share",  # of the steps, whose gradient was clipped
    "fused",  # runs that it was trained together with when it began, itself included
    "data_wait_share",  # of the training seconds, until batches of a loader were there
    NOT_SUGGESTED,
)


class Verdict(StrEnum):
    """Why a run ended."""

    COMPLETED = "completed"
    NON_FINITE = "non_finite"  # the loss or the metric became NaN or infinite
    DIVERGED = "diverged"  # the loss left the range it trained in and stayed away
    OUT_OF_MEMORY = "out_of_memory"
    OVER_BUDGET = "over_budget"
    STALLED = "stalled"  # the loss never got below that of the best constant predictor
    DOMINATED = "dominated"  # it could no longer reach the Pareto front
    PRUNED = "pruned"  # an Optuna pruner said so

    @property
    def failed(self) -> bool:
        """Whether the training itself went wrong, whatever it may cost."""
        return self in (Verdict.NON_FINITE, Verdict.DIVERGED, Verdict.STALLED)


FAILED = frozenset(verdict.value for verdict in Verdict if verdict.failed)  # as they are stored


class Stopped(Exception):
    """Raised inside an objective to end it early, as Optuna users raise `TrialPruned`."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason


class Phase(NamedTuple):
    """Epochs of one batch size, of a run whose batch size grows: or points of its curve."""

    batch_size: int
    epochs: int
    steps: int  # optimizer steps


@dataclass(frozen=True, kw_only=True)
class TrialParams:
    """What an objective is asked to train with."""

    batch_size: int  # examples per optimizer step
    learning_rate: float
    epochs: int  # that are begun; where the length is none of epochs, and theirs is not known, 1
    seed: int  # of model initialisation and data order, 0..2**31-1
    device: str  # a torch device: "cpu", "cuda:0", "mps"
    score_test: bool = False  # at the end, on the test split: nothing may be chosen by that
    extra: Mapping[str, Any] = field(default_factory=dict)  # of the task's searched parameters
    schedule: str | None = None  # of the batch size, in place of the recipe's
    diagnostics: tuple[str, ...] = ()  # some of DIAGNOSTICS, to be computed when the run completes
    length: Length | None = None  # None: `epochs`, evaluated after each of them

    @staticmethod
    def over(length: Length, *, batch_size: int, **others: Any) -> TrialParams:
        """Parameters of a run of that length; `others` as for `TrialParams`."""
        return TrialParams(
            batch_size=batch_size,
            epochs=length.epochs_begun(batch_size),
            length=None if length.is_plain else length,
            **others,
        )

    @property
    def planned(self) -> Length:
        """How long to train, in whatever unit was asked for."""
        return self.length or Length(amount=self.epochs)

    def evaluated_after(self, n_train: int | None = None) -> tuple[int, ...]:
        """The optimizer steps after which a loop evaluates and reports; the last one is its end.

        Args:
            n_train: the examples of an epoch, where the length is one of epochs.

        Raises:
            ObjectiveError: it is, and they are not given.
        """
        length = self.planned if n_train is None else replace(self.planned, n_train=n_train)
        try:
            steps = length.steps([self.batch_size] * length.points)
        except ValueError as error:
            raise ObjectiveError(f"{error}: params.evaluated_after(n_train) needs them") from None
        return tuple(step for n, step in zip(steps, accumulate(steps), strict=True) if n)

    def total_steps(self, n_train: int | None = None) -> int:
        """The optimizer steps of the whole run; arguments and errors as of `evaluated_after`."""
        return self.evaluated_after(n_train)[-1]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a finished or stopped run showed; None where it ended before there was anything."""

    verdict: Verdict
    reason: str  # "" for a completed run
    metric: float | None  # of the epoch that is told
    best_metric: float | None  # of the best epoch
    metric_curve: tuple[float, ...]  # one value per finished epoch, or other point of evaluation
    length: Length | None = None  # that was asked for
    also: Mapping[str, float] = field(default_factory=dict)  # other metrics of the epoch told
    also_curves: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    train_seconds: float  # wall time of training steps only
    process_seconds: float  # CPU time of the same steps
    planned_train_seconds: float  # what the whole run takes at this run's pace
    peak_memory_bytes: int
    train_loss: float | None  # mean over the last window of steps
    test_metric: float | None  # on the test split, of the few runs that are scored there
    baseline_metric: float | None = None  # of a constant prediction, where it is known
    generalization_gap: float | None  # by how much the metric is better in training, as told
    to_target: int | None  # points of the curve
    n_spikes: int  # loss spikes that recovered
    steps: int  # optimizer steps run, as reported: fewer than planned where it stopped itself
    total_steps: int  # optimizer steps planned
    missing_steps: str = ""
    """What there is to say of steps that were announced and not reported: then the run's own clock
    counts."""
    evaluation_peak_bytes: int | None = None  # of what is no training step; None: not seen
    device_memory_bytes: int | None = None  # that an accelerator lost to it; None: a CPU
    phases: tuple[Phase, ...] = ()  # planned, where the batch size grows
    weight_norm: float | None = None  # of all parameters, at the end of a completed run
    distance_from_init: float | None = None
    sharpness: float | None = None
    techniques: Mapping[str, Any] = field(default_factory=dict)  # some of TECHNIQUE_FACTS
