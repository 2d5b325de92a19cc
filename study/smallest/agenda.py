"""What the workers run next for a question: computed anew from the study before every trial.

Nothing but the trials is remembered, so that several machines can work at one question, and a
later call goes on where an earlier one ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from batchfront.study.plan.space import SearchSpace
from batchfront.study.smallest import sensitivity
from batchfront.study.smallest.ladder import walk
from batchfront.study.smallest.question import ADAPTIVE, PURPOSES, Question
from batchfront.study.smallest.sensitivity import adaptive_runs
from batchfront.study.smallest.size import Asked
from batchfront.study.trials.attributes import PURPOSE, SCHEDULE, SCORE_TEST, fused_sizes
from batchfront.study.trials.rows import RunRow, runs_of
from batchfront.study.trials.yardstick import Objectives, standard

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True)
class Agenda:
    """What one call asks of the study; it travels to worker processes."""

    question: Question
    metric_names: Objectives
    own: Mapping[str, Any] = field(default_factory=dict)  # values of the task's own parameters
    space: SearchSpace = field(default_factory=SearchSpace)
    adaptive: bool = False  # runs may follow another schedule than the study's
    limit: int | None = None  # of the study's trials that a question asked for

    def rows(self, trials: Sequence[FrozenTrial]) -> list[RunRow]:
        """Runs that are evidence, or will be; their metrics are standard values."""
        by = self.metric_names.yardstick(trials)
        return evidence_rows(standard(trials, by), self.metric_names, self.own)

    def asked(self, trials: Sequence[FrozenTrial]) -> Question:
        """The question in the standard values of `rows`."""
        return self.question.measured_by(self.metric_names.yardstick(trials))

    def due(self, trials: Sequence[FrozenTrial]) -> list[Asked]:
        """What to queue now; nothing while runs are under way that must be seen first."""
        rows = self.rows(trials)
        asked = next_runs(self.asked(trials), rows, adaptive=self.adaptive)
        if self.limit is None:
            return asked
        return asked[: max(0, self.limit - n_asked(rows))]

    def by(self, study: Study) -> Agenda:
        """The same, where runs are trained together: by what the study knows of that by now."""
        if self.question.fused is None:
            return self
        fused = {**self.question.fused, **fused_sizes(study)}
        return replace(self, question=replace(self.question, fused=fused))

    def queue(self, study: Study, trials: Sequence[FrozenTrial]) -> int:
        """Queue what is due, under the claim lock; returns how many trials that were."""
        asked = self.by(study).due(trials)
        for one in asked:
            study.enqueue_trial(self._params(one), user_attrs=self._attributes(one))
        return len(asked)

    def _params(self, asked: Asked) -> dict[str, Any]:
        return {**self.space.asked(asked.batch_size, asked.learning_rate), **self.own}

    def _attributes(self, asked: Asked) -> dict[str, Any]:
        found: dict[str, Any] = {PURPOSE: asked.purpose}
        if asked.score_test:
            found[SCORE_TEST] = True
        if asked.schedule is not None:
            found[SCHEDULE] = asked.schedule
        return {**found, **self.space.scaled(asked.learning_rate)}


def evidence_rows(
    trials: Sequence[FrozenTrial], metric_names: Sequence[str], own: Mapping[str, Any]
) -> list[RunRow]:
    """Runs that say something, or will: at the usual values `own` of the task's own parameters."""
    usual = [trial for trial in trials if _is_at(trial, own)]
    rows = runs_of(usual, metric_names) + adaptive_runs(usual, metric_names)
    return [row for row in rows if row.finished or row.waits]


def _is_at(trial: FrozenTrial, own: Mapping[str, Any]) -> bool:
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    return all(params.get(name) == value for name, value in own.items())


def next_runs(question: Question, rows: Sequence[RunRow], *, adaptive: bool = False) -> list[Asked]:
    """What the ladder lacks; once the answer is there, what shows how sensitive it is.

    `adaptive`: also to a batch that grows with the noise.
    """
    own = [row for row in rows if row.purpose != ADAPTIVE]
    found = walk(question, own)
    missing = found.to_run or sensitivity.to_run(question, own, found)
    if not missing and adaptive:
        missing = sensitivity.adaptive_to_run(rows, found)
    return list(missing)


def n_asked(rows: Sequence[RunRow]) -> int:
    """Runs that a question asked for."""
    return sum(row.purpose in PURPOSES for row in rows)
