"""Batch sizes whose runs take another time than known: their cost is measured again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.study.machine.interrupts import Interrupted, Interrupts
from batchfront.study.probes.prober import faster
from batchfront.study.trials.costs import TIME_OFF
from batchfront.study.trials.hardware import store_costs, stored_costs
from batchfront.study.trials.outcome import time_off

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.measurement import Measurement
    from batchfront.storage.shared import SharedStorage
    from batchfront.study.plan.plan import Plan
    from batchfront.study.probes.prober import Prober
    from batchfront.study.workers.claimed import Claimed


class Doubts:
    """Those of one worker, which probes each size once more at the most."""

    def __init__(
        self,
        *,
        storage: SharedStorage,
        study: Study,
        plan: Plan,
        prober: Prober,
        interrupts: Interrupts,
    ) -> None:
        self._storage, self._study, self._plan = storage, study, plan
        self._prober, self._interrupts = prober, interrupts
        self._doubted: set[int] = set()  # sizes whose last run took another time than known
        self._checked: set[int] = set()  # of these, probed again

    def note(self, claimed: Claimed, measurement: Measurement) -> None:
        """Compare the time of a run that had the device for itself with what is known."""
        off = time_off(measurement, claimed.cost_of(measurement)) or 0.0
        if abs(off) > TIME_OFF:
            self._doubted |= claimed.sizes_of(measurement)

    @property
    def sizes(self) -> list[int]:
        """The sizes that are to be probed again before the next trial."""
        return sorted(self._doubted - self._checked)

    def probe_again(self) -> None:
        """Probe them, and store what has changed; a signal ends it."""
        for size in self.sizes:
            with self._storage.claim_lock(self._plan.study_name):
                before = stored_costs(self._study, self._plan.hardware)
            try:
                with self._interrupts.armed():
                    after = self._prober.again(size, before)
            except Interrupted:
                return
            if after != before[size]:
                with self._storage.claim_lock(self._plan.study_name):
                    latest = stored_costs(self._study, self._plan.hardware)
                    found = faster(latest[size], after)  # another worker may have probed it, too
                    store_costs(self._study, self._plan.hardware, {**latest, size: found})
            self._checked.add(size)
