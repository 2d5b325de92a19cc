"""What a progress line counts, found as the tables at the end of a search find it."""

from __future__ import annotations

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
    """Counts the trials of one study as they are now: on one hardware, or on each."""

    def __init__(self, study: Study, hardware: str | None = None) -> None:
        self._study, self._hardware = study, hardware
        self._names = Objectives.of(study)
        self._sound = SoundTrials()

    def __call__(self) -> Tally:
        """Count them; medians stand for repeated settings, and ties are no better, as in tables."""
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
