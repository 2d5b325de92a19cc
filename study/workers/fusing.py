"""Which trials a worker trains together, and that it does.

Whether runs of a batch size are is decided once for a study, and stored with it: no result depends
on what a later worker would have measured. A single trial of such a size runs beside a copy of
itself, which rounds as any group does.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import (
    free_memory,
    is_out_of_memory,
    usable_memory_bytes,
)
from batchfront.objectives.fused.group import LEAST
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.together import Together
from batchfront.objectives.raised import Halted
from batchfront.study.plan.parsers import AUTO, OFF
from batchfront.study.trials.attributes import FUSED, fused_sizes

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.measurement import TrialParams
    from batchfront.objectives.objective import Objective
    from batchfront.storage.shared import SharedStorage
    from batchfront.study.plan.plan import Plan
    from batchfront.study.workers.claimed import Claimed
    from batchfront.study.workers.watched import WatchedRun

MOST = 32  # runs, where nobody says how many
TRIED = 10  # runs, by which is decided whether that pays: as many as in most groups
SHARE = 0.5  # of the device's memory that a group may take


class NotTogether(Exception):
    """A run is yet to be trained by itself."""


class Fusing:
    """One for a worker."""

    def __init__(
        self,
        *,
        storage: SharedStorage,
        study: Study,
        plan: Plan,
        objective: Objective,
        told: set[str],
    ) -> None:
        """`told`: what people have been told by this worker."""
        self._storage, self._study, self._plan = storage, study, plan
        self._together = Together(objective)
        self._told = told
        self._most = {AUTO: MOST, OFF: 0}.get(str(plan.fuse)) or 0
        if isinstance(plan.fuse, int):
            self._most = plan.fuse
        self._decided: dict[int, bool] = {}

    def most(self, claimed: Claimed) -> int:
        """How many trials may be trained together with this one, itself included; 0: it is alone.

        Those that a question asked for, whose time and memory are known: beside others nobody can
        measure them.
        """
        wanted = claimed.purpose is not None and claimed.is_told and claimed.growth is None
        if self._most == 0 or not wanted or claimed.params.schedule is not None:
            return 0
        peak = claimed.known and claimed.known.peak_memory_bytes
        fits = usable_memory_bytes(self._plan.device) * SHARE // peak if peak else self._most
        most = min(self._most, int(fits))
        return max(1, most) if self._is_fused(claimed, most) else 0

    def carry_out(
        self, group: Sequence[tuple[TrialParams, WatchedRun]]
    ) -> list[BaseException | None]:
        """Train them; what each raised, None where it was told its verdict."""
        found: list[BaseException | None] = [NotTogether() for _ in group]
        n_runs = len(group)
        ready = [(n, params, watched.ready(n_runs)) for n, (params, watched) in enumerate(group)]
        runs = [(n, params, run) for n, params, run in ready if run is not None]
        for _, _, run in runs:
            run.trained_with(fused=len(runs))
        try:
            raised = self._together.carry_out([(params, run) for _, params, run in runs])
        except Halted:
            raise
        except Refused:
            return found
        except BaseException as error:  # each shows by itself whether it is to blame
            if is_out_of_memory(error):
                self._most = max(1, len(runs) // 2)
                free_memory(error)
            return found
        for (n, _, _), one in zip(runs, raised, strict=True):
            found[n] = one
        return found

    def _is_fused(self, claimed: Claimed, most: int) -> bool:
        size = claimed.params.batch_size
        if size not in self._decided:
            known = fused_sizes(self._study)
            self._decided[size] = known[size] if size in known else self._decide(claimed, most)
        return self._decided[size]

    def _decide(self, claimed: Claimed, most: int) -> bool:
        """Find out, and store it unless another worker has done so meanwhile."""
        size, why = str(claimed.params.batch_size), self._why_not(claimed, min(TRIED, most))
        with self._storage.claim_lock(self._plan.study_name):
            stored = self._study.user_attrs.get(FUSED, {})
            if size not in stored:
                self._study.set_user_attr(FUSED, {**stored, size: not why})
        if why:
            self._say(size, why)
        return bool({size: not why, **stored}[size])

    def _why_not(self, claimed: Claimed, n: int) -> str:
        """What is against training so many of them together; "" if nothing.

        With larger batches less is to be gained: a size is not tried where a smaller one failed.
        """
        size, known = claimed.params.batch_size, fused_sizes(self._study)
        if n < LEAST:
            return "two of them may not fit into memory"
        if self._plan.fuse != AUTO:
            return self._together.why_not([claimed.params] * n)
        if any(not is_fused for smaller, is_fused in known.items() if smaller < size):
            return "those of a smaller size are"
        seconds = claimed.known.train_seconds if claimed.known else None
        return self._together.why_not([claimed.params] * n, lone_seconds=seconds or 0.0)

    def _say(self, size: str, why: str) -> None:
        """Once for each reason: it is that of other sizes, too."""
        if why not in self._told:
            self._told.add(why)
            warnings.warn(
                f"trials of batch size {size} are trained one by one: {why}", stacklevel=2
            )
