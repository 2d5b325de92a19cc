"""Where the training seconds of a study went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.study.findings.overview.summary import saved_seconds
from batchfront.study.show import counted, human_seconds
from batchfront.study.trials.attributes import is_finished

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "completed", "PRUNED": "stopped early", "FAIL": "failed"}
WIDEST = 100.0  # percent of the room for bars


@dataclass(frozen=True, kw_only=True)
class Spent:
    """One bar; `share` is its width in percent."""

    what: str
    share: float
    text: str


def spent_of(trials: Sequence[FrozenTrial], *, probing: float | None) -> list[Spent]:
    """Seconds of runs that completed, were stopped and failed, and those that stopping saved.

    `probing`: seconds before the search; None where nobody knows.
    """
    finished = [trial for trial in trials if is_finished(trial)]
    seconds: dict[str, tuple[float, int]] = {}
    for state, what in STATES.items():
        own = [trial for trial in finished if trial.state.name == state]
        if own:
            total = sum(trial.user_attrs.get("measured_seconds", 0.0) for trial in own)
            seconds[f"in runs that {_were(what)}"] = total, len(own)
    if probing is not None:
        seconds["in probes before the search"] = probing, 0
    planned = [
        trial
        for trial in finished
        if trial.state.name == "PRUNED" and "planned_train_seconds" in trial.user_attrs
    ]
    if planned:
        seconds["saved by stopping"] = sum(map(saved_seconds, planned)), len(planned)
    most = max((total for total, _ in seconds.values()), default=0.0)
    return [
        Spent(
            what=what,
            share=round(WIDEST * total / most, 1),
            text=f"{human_seconds(total)}, {counted(n, 'run')}" if n else human_seconds(total),
        )
        for what, (total, n) in seconds.items()
        if most > 0
    ]


def _were(what: str) -> str:
    return f"were {what}" if what == STATES["PRUNED"] else what
