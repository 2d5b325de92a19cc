"""Which running trials have shown no sign of life for too long."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.study.trials.attributes import OWNER, id_of
from batchfront.study.workers.retry import BEAT, LEASE

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

CLOCK_SECONDS = 1.0  # SQLite and MySQL write whole seconds: two beats within one are one sign


class Silence:
    """Since when each running trial has shown no new sign of life, by the clock of who watches."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._seen: dict[int, tuple[Any, float]] = {}  # by number: the last sign, and since when

    def forget(self) -> None:
        """Start anew."""
        self._seen.clear()

    def too_long(
        self, running: Sequence[FrozenTrial], heartbeats: Mapping[int, Any], asked_at: float
    ) -> list[FrozenTrial]:
        """Trials silent for longer than the grace period, or than their workers asked for.

        Both were read after `asked_at`, of time.monotonic(): at least until then they were silent.
        Trials of workers that give no sign are not ours to judge; those whose worker died before
        it wrote its name are.
        """
        now = time.monotonic()
        before, self._seen = self._seen, {}
        silent = []
        for trial in running:
            sign = (heartbeats.get(id_of(trial)), trial.system_attrs.get(BEAT))
            if sign == (None, None) and OWNER in trial.user_attrs:
                continue
            last, since = before.get(trial.number, (sign, now))
            self._seen[trial.number] = (sign, since if sign == last else now)
            if sign == last and asked_at - since > self._allowed(trial, heartbeats):
                silent.append(trial)
        return silent

    def _allowed(self, trial: FrozenTrial, heartbeats: Mapping[int, Any]) -> float:
        """The seconds that this trial may be silent."""
        lease = trial.system_attrs.get(LEASE)
        asked = lease if isinstance(lease, int | float) else 0.0
        clock = CLOCK_SECONDS if id_of(trial) in heartbeats else 0.0
        return max(self._grace_seconds, asked) + clock
