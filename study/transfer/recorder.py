"""Records runs of a grid: one by one, or several of one batch size together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from batchfront.objectives.curves.write import RecordingRun, curve_of, record_run
from batchfront.objectives.device.hardware import (
    free_memory,
    is_out_of_memory,
    usable_memory_bytes,
)
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.together import Together
from batchfront.objectives.raised import Halted
from batchfront.study.plan.parsers import AUTO, OFF

if TYPE_CHECKING:
    from batchfront.objectives.measurement import TrialParams
    from batchfront.objectives.objective import Objective

    Curve = list[tuple[float, float]]

USUAL = 32  # runs together: more gain little
SHARE = 0.5  # of the device's memory that is free, which a group may take


class Recorder:
    """Trains what it is given; one for a sweep."""

    def __init__(
        self, objective: Objective, fuse: str | int, *, say: Callable[[str], None]
    ) -> None:
        """`say`: is told once of each batch size whose runs are trained one by one, and why."""
        self.objective, self._fuse, self._say = objective, fuse, say
        self._together = Together(objective)
        self._alone: set[int] = set()  # batch sizes
        self.n_fused = 0  # runs so far

    def most(self, peak_bytes: int | None, device: str) -> int:
        """Runs of that size that may be trained together."""
        if self._fuse == OFF:
            return 1
        fits = usable_memory_bytes(device) * SHARE // peak_bytes if peak_bytes else USUAL
        return max(1, min(USUAL if self._fuse == AUTO else int(self._fuse), int(fits)))

    def curves(
        self, group: Sequence[TrialParams], *, most: int, seconds: float
    ) -> Iterator[Curve | BaseException]:
        """Mean loss and metric of each epoch of each run, or what it raised; if alone, the last.

        `group`: of one batch size, no more than `most`; `seconds`: that each takes alone.
        """
        if most > 1 and self._pays(group, seconds):
            yield from self._fused(group)
            return
        for params in group:
            found = self._lone(params)
            yield found
            if isinstance(found, BaseException):
                return

    def _lone(self, params: TrialParams) -> Curve | BaseException:
        try:
            return record_run(self.objective, params, metric=self.objective.metric)
        except Halted:
            raise
        except BaseException as error:  # user code may raise anything
            return error

    def _pays(self, group: Sequence[TrialParams], seconds: float) -> bool:
        size, alone = group[0].batch_size, self._alone
        if size in alone or (self._fuse == AUTO and any(smaller < size for smaller in alone)):
            return False  # with larger batches less is to be gained
        lone_seconds = seconds if self._fuse == AUTO else None
        why = self._together.why_not(group, lone_seconds=lone_seconds)
        if why:
            self._alone.add(size)
            self._say(f"runs of batch size {size} are trained one by one: {why}")
        return not why

    def _fused(self, group: Sequence[TrialParams]) -> list[Curve | BaseException]:
        """Train them together; halves of them where they do not fit into memory."""
        runs = [
            RecordingRun(device=params.device, metric=self.objective.metric) for params in group
        ]
        try:
            raised = self._together.carry_out(list(zip(group, runs, strict=True)))
        except Refused:  # of another width
            return [self._lone(params) for params in group]
        except Exception as error:
            if not is_out_of_memory(error) or len(group) == 1:
                return [error for _ in group]
            free_memory(error)
            half = len(group) // 2
            return [*self._fused(group[:half]), *self._fused(group[half:])]
        self.n_fused += len(group)
        return [
            _curve(run, params) if error is None else error
            for run, params, error in zip(runs, group, raised, strict=True)
        ]


def _curve(run: RecordingRun, params: TrialParams) -> Curve | BaseException:
    try:
        return curve_of(run, params)
    except Exception as error:
        return error
