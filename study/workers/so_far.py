"""What a study has come to, as a worker needs it at every claim: each trial is counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.measurement import Verdict
from batchfront.study.plan.limits import Sizes
from batchfront.study.trials.attributes import VERDICT, is_finished, is_searched
from batchfront.study.trials.followed import Followed
from batchfront.study.workers.retry import HISTORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from optuna import Study
    from optuna.trial import FrozenTrial


class SoFar:
    """Follows one study."""

    def __init__(self, hardware: str) -> None:
        self.n_finished = 0  # that count towards the total
        self.unfinished: list[FrozenTrial] = []  # of ours, that wait or run
        self.foreign: list[tuple[FrozenTrial, str]] = []  # others that do, and why they are none
        self._hardware = hardware
        self._followed = Followed()
        self._finished: list[FrozenTrial] = []
        self._sizes = Sizes()
        self._chained: list[FrozenTrial] = []  # finished ones that failed, or go on with another

    def follow(self, study: Study) -> None:
        """Take over what has happened since the last time."""
        look = self._followed.look(study)
        self.unfinished, self.foreign = look.unfinished, look.foreign
        if look.superseded:
            gone = [trial for trial in self._finished if trial.number in look.superseded]
            self._finished = [t for t in self._finished if t.number not in look.superseded]
            self.n_finished -= sum(map(is_searched, gone))
        self._finished += look.finished
        self.n_finished += sum(map(is_searched, look.finished))
        self._sizes = self._sizes.and_of(look.finished, self._hardware)
        self._chained += [
            trial
            for trial in (*look.finished, *look.taken_up)
            if trial.state.name == "FAIL" or HISTORY in trial.system_attrs
        ]

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that are ours, in the order of their numbers."""
        return _by_number((*self._finished, *self.unfinished))

    @property
    def measured(self) -> list[FrozenTrial]:
        """Those that have ended by themselves or by a verdict on how they trained."""
        verdicts = ((trial, trial.user_attrs.get(VERDICT)) for trial in self._finished)
        return [t for t, v in verdicts if v not in (None, Verdict.OUT_OF_MEMORY) and is_finished(t)]

    @property
    def chain(self) -> Sequence[FrozenTrial]:
        """The trials that can be lost runs or their successors, in the order of their numbers."""
        return _by_number((*self._chained, *self.unfinished))

    @property
    def sizes(self) -> Sizes:
        """What is known of batch sizes, on this hardware."""
        return self._sizes.and_of(self.unfinished, self._hardware)


def _by_number(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    return sorted(trials, key=lambda trial: trial.number)
