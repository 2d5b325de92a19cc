"""What a progress line counts, found as the tables at the end of a search find it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.study.trials.attributes import is_finished
from batchfront.study.trials.hardware import by_hardware_id
from batchfront.study.trials.paused import is_paused
from batchfront.study.trials.repeats import median_front
from batchfront.study.trials.sound import SoundTrials
from batchfront.study.trials.yardstick import Objectives

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

QUICK = 0.05  # seconds of a count that may be made after every trial
SHARE = 0.02  # of the time that longer ones may take


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many trials stand on the front, and how many were stopped early."""

    n_front: int
    n_stopped: int
    n_paused: int = 0  # of those stopped, that could go on

    def __str__(self) -> str:
        paused = f" ({self.n_paused} paused)" if self.n_paused else ""
        return f"front {self.n_front} stopped {self.n_stopped}{paused}"


class Counting:
    """Counts the trials of one study, those of one hardware or of each.

    Where that takes long, as of ten thousand trials, an earlier count is kept for a while.
    """

    def __init__(self, study: Study, hardware: str | None = None) -> None:
        self._study, self._hardware = study, hardware
        self._names = Objectives.of(study)
        self._sound = SoundTrials()
        self._last: Tally | None = None
        self._keep_until = 0.0

    def __call__(self) -> Tally:
        """The newest count that is worth its time."""
        begun = time.monotonic()
        if self._last is None or begun >= self._keep_until:
            self._last = self._count()
            ended = time.monotonic()
            took = ended - begun
            self._keep_until = ended + (took / SHARE if took > QUICK else 0.0)
        return self._last

    def _count(self) -> Tally:
        """Medians stand for repeated settings, and ties are no better, as in tables."""
        groups = by_hardware_id(self._study, self._sound.of(self._study))
        if self._hardware is not None:
            groups = {self._hardware: groups.get(self._hardware, [])}
        stopped = [t for some in groups.values() for t in _stopped(some)]
        return Tally(
            n_front=sum(len(median_front(some, self._names)) for some in groups.values()),
            n_stopped=len(stopped),
            n_paused=sum(map(is_paused, stopped)),
        )


def _stopped(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if is_finished(t) and t.state.name == "PRUNED"]
