"""A study that grows, gone through once: what does not change any more is not looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.study.trials.paused import is_paused, is_thaw, superseded
from batchfront.study.trials.sound import Rules

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True)
class Look:
    """What there is of a study since the last look; each list in the order of numbers."""

    finished: list[FrozenTrial]  # of ours, since then
    taken_up: list[FrozenTrial]  # of ours, since then: paused ones whose run another goes on with
    superseded: set[int]  # numbers of those handed out as finished before that are so by now
    unfinished: list[FrozenTrial]  # all of ours that wait or run
    foreign: list[tuple[FrozenTrial, str]]  # all others that wait or run, and why they are foreign


class Followed:
    """Hands out every finished trial of one study once."""

    def __init__(self) -> None:
        self._rules: Rules | None = None
        self._n_seen = 0  # trials
        self._unfinished: list[int] = []  # numbers, which are places among all trials of a study
        self._paused: dict[int, FrozenTrial] = {}  # handed out, by number
        self._thaws: dict[int, FrozenTrial] = {}  # trials that take paused runs up, by number

    def look(self, study: Study) -> Look:
        """The trials that were not finished when it looked last, or not there."""
        if self._rules is None:
            self._rules = Rules.of(study)
        trials = study.get_trials(deepcopy=False)
        numbers = [*self._unfinished, *range(self._n_seen, len(trials))]
        self._n_seen, self._unfinished = len(trials), []
        look = Look(finished=[], taken_up=[], superseded=set(), unfinished=[], foreign=[])
        for trial in (trials[number] for number in numbers):
            why = self._rules.why_not(trial)
            if not trial.state.is_finished():
                self._unfinished.append(trial.number)
                if why is not None:
                    look.foreign.append((trial, why))
            if why is None:
                (look.finished if trial.state.is_finished() else look.unfinished).append(trial)
        self._leave_out(look)
        return look

    def _leave_out(self, look: Look) -> None:
        """Hand out no paused trial whose run was taken up; name those that had been."""
        seen = (*look.finished, *look.unfinished)
        self._thaws |= {trial.number: trial for trial in seen if is_thaw(trial)}
        new = {trial.number: trial for trial in look.finished if is_paused(trial)}
        gone = superseded((*self._paused.values(), *new.values(), *self._thaws.values()))
        look.superseded.update(gone & self._paused.keys())
        if gone:
            look.taken_up[:] = [trial for trial in look.finished if trial.number in gone]
            look.finished[:] = [trial for trial in look.finished if trial.number not in gone]
        paused = {**self._paused, **new}
        self._paused = {number: trial for number, trial in paused.items() if number not in gone}
