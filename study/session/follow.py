"""A study that others run, seen through its storage as the events its workers had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import Verdict
from batchfront.study.trials.attributes import (
    CURVE,
    ERROR,
    FAIL_REASON,
    PREDICTED,
    REASON,
    VERDICT,
    batch_size_of,
    is_feasible,
    length_of,
    rate_of,
)
from batchfront.study.trials.outcome import grid_stride
from batchfront.study.trials.paused import is_thaw
from batchfront.study.trials.sound import SoundTrials
from batchfront.study.workers.events import Event

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class Follower:
    """Compares the trials of a study with those it saw before."""

    def __init__(self, study: Study, before: Iterable[FrozenTrial]) -> None:
        self._study = study
        self._sound = SoundTrials()
        self._seen = {trial.number: _stage(trial) for trial in before}

    def news(self) -> Iterator[Event]:
        """What changed since the last call."""
        for trial in self._sound.of(self._study):
            if "learning_rate" not in trial.params:
                continue  # a trial has its parameters a moment after its number
            if self._seen.get(trial.number) == _stage(trial):
                continue
            self._seen[trial.number] = _stage(trial)
            if not trial.user_attrs.get(PREDICTED):  # told without running
                yield _ended(trial) if trial.state.is_finished() else _event(trial)


def _stage(trial: FrozenTrial) -> tuple[str, int]:
    return trial.state.name, len(trial.user_attrs.get(CURVE, ()))


def _ended(trial: FrozenTrial) -> Event:
    attributes = trial.user_attrs
    verdict = attributes.get(VERDICT, "")
    if trial.state.name == "FAIL":
        # One whose worker died is counted as little as one that a signal ended.
        verdict = "failed" if attributes.get(FAIL_REASON) == ERROR else "interrupted"
    elif trial.state.name == "COMPLETE" and not is_feasible(trial):
        verdict = Verdict.OVER_BUDGET.value
    event = replace(_event(trial), kind="ended", metric=None, verdict=verdict)
    if trial.values is None:
        return replace(event, reason=attributes.get(REASON, ""))
    metric, seconds, peak = trial.values
    values = (metric, seconds, peak) if is_feasible(trial) else None
    return replace(event, metric=metric, values=values)


def _event(trial: FrozenTrial) -> Event:
    """The event that tells how far a running trial is."""
    curve = trial.user_attrs.get(CURVE, [])
    length = length_of(trial.user_attrs)
    return Event(
        kind="epoch" if curve else "started",
        number=trial.number,
        batch_size=batch_size_of(trial.params),
        learning_rate=rate_of(trial),
        goes_on=is_thaw(trial),
        epoch=len(curve)
        * grid_stride(length.points if length else 1),  # long curves are kept at every so many
        metric=curve[-1] if curve else None,
    )
