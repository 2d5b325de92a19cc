"""A life in which a run is paused and later gone on with: the rule that does so is planted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from batchfront.objectives.measurement import Verdict
from batchfront.objectives.objective import Objective
from batchfront.study.opening.open import open_study
from batchfront.study.pruning.decision import Decision, RunSoFar
from batchfront.study.pruning.pausing import Hope, PausingPruner
from batchfront.study.trials.paused import is_paused, is_thaw, superseded
from tests.faults.place import Place, Victim
from tests.faults.points import Points
from tests.faults.scenarios import Keeper, Scenario
from tests.faults.scene import LOST_RUN, Violation

PAUSED_AFTER = 2  # of the three epochs


def _judge(rule: Any, study: Any, trial: Any, progress: RunSoFar) -> Decision | None:
    """Whoever has not been paused yet is."""
    if is_thaw(trial) or len(progress.curve) != PAUSED_AFTER or not progress.is_kept:
        return None
    return Decision(verdict=Verdict.DOMINATED, reason="planted", shortfall=0.1, pauses=True)


def _hopes(rule: Any, study: Any) -> list[Hope]:
    """Whoever is paused may belong to the front."""
    trials = study.get_trials(deepcopy=False)
    gone_on = superseded(trials)
    there = (t for t in trials if is_paused(t) and t.number not in gone_on)
    return [Hope(math.inf, trial.number, trial) for trial in there]


@contextmanager
def _pausing() -> Iterator[None]:
    """The planted rule in place of the pruner's own."""
    with mock.patch.multiple(PausingPruner, judge=_judge, hopes=_hopes):
        yield


@dataclass(frozen=True, kw_only=True)
class Pauses(Scenario):
    """Every run is paused once, and none is left behind."""

    def prepare(self, keeper: Keeper, place: Place) -> None:
        with _pausing():
            super().prepare(keeper, place)

    def live(self, place: Place, objective: Objective, points: Points) -> int:
        with _pausing():
            return super().live(place, objective, points)

    def finish(self, keeper: Keeper, place: Place) -> int:
        with _pausing():
            return super().finish(keeper, place)

    def judge(self, keeper: Keeper, place: Place, victims: list[Victim]) -> list[Violation]:
        """The rules of all lives, and that each paused run has gone on."""
        found = super().judge(keeper, place, victims)
        trials = open_study(keeper.storages(place.url), place.name).get_trials(deepcopy=False)
        gone_on = superseded(trials)
        left = [t.number for t in trials if is_paused(t) and t.number not in gone_on]
        if left:
            found.append(Violation(LOST_RUN, f"paused runs were left behind: {left}"))
        return found


PAUSES = (
    Pauses(name="pauses", says="a run is paused, and gone on with when the total is reached",
           options={"pruner": "front-paused"}),
)  # fmt: skip
