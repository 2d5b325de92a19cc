"""What a trial is told when its run has ended, in whatever way; and what is said of it."""

from __future__ import annotations

from typing import Any

from batchfront.objectives.device.hardware import free_memory, is_device_lost, is_out_of_memory
from batchfront.objectives.measurement import Measurement, Verdict
from batchfront.objectives.meters.divergence import METRIC_BECAME
from batchfront.objectives.raised import kind_of, text_of, words_of
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import Interrupted
from batchfront.study.plan.limits import Excuse
from batchfront.study.plan.plan import Plan
from batchfront.study.trials.attributes import ERROR, REASON
from batchfront.study.trials.outcome import way_of_failing
from batchfront.study.workers.claimed import Claimed
from batchfront.study.workers.events import QUEUED_AGAIN, Emit, Event
from batchfront.study.workers.ledger import Ledger
from batchfront.study.workers.next_trial import NextTrial
from batchfront.study.workers.watched import WatchedRun

SAME_FAILURES = 3  # in a row, and the worker gives up
UNDEFINED_RUNS = 10  # of all workers since this one began, none with a metric: it gives up
MAX_REFUSALS = 100  # in a row: then nothing that can run is left
MAX_CROWDED = 2  # times that a run which is known to fit may find no memory; then it is evidence


class DeviceLost(Exception):
    """The device answers this process no more: another one has to go on."""


class RepeatedFailure(Exception):
    """Several trials in a row failed the same way: the study cannot go on like this."""


class Telling:
    """What one worker writes down of its runs, by how they have ended.

    It gives up where several in a row fail alike.
    """

    def __init__(self, *, plan: Plan, ledger: Ledger, next_trial: NextTrial, emit: Emit) -> None:
        self._plan = plan
        self._ledger = ledger
        self._next = next_trial
        self._emit = emit
        self._failures: list[str] = []  # ways of failing since the last trial that did not
        self._refusals = 0  # in a row
        self._n_before: int | None = None  # runs of the study when this worker began
        self.crowded = False
        """A trial that is known to fit has found no memory: something else has it, for a while."""

    def waits(self, n_running: int) -> None:
        """Say that the worker waits for trials of others."""
        n_finished = self._next.n_finished
        self._emit(Event(kind="waiting", n_finished=n_finished, n_running=n_running))

    def say(self, claimed: Claimed, kind: str, **more: Any) -> None:
        """Say what has come of a trial to whoever watches; `more`: of `Event`."""
        self._emit(
            Event(
                kind=kind,
                number=claimed.number,
                batch_size=claimed.params.batch_size,
                learning_rate=claimed.params.learning_rate,
                n_finished=self._next.n_finished,
                goes_on=claimed.goes_on,
                is_beside=self._next.is_search and claimed.purpose is not None,
                **more,
            )
        )

    def refused(self, claimed: Claimed) -> bool:
        """Tell a trial at once whose batch size is known not to fit or to break a budget.

        Returns whether it is one. Raises RepeatedFailure where hardly anything else is proposed.
        """
        excuse = claimed.excuse
        if excuse is None:
            self._refusals = 0
            return False
        self._ledger.refused(claimed, excuse)
        claimed.forget()  # what an earlier worker of its run has kept
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            raise RepeatedFailure(f"{MAX_REFUSALS} proposals in a row cannot run: {excuse.reason}")
        return True

    def measured(self, claimed: Claimed, watched: WatchedRun, measurement: Measurement) -> None:
        """Tell of a run that has come to its end, or was stopped by a verdict."""
        self._failures.clear()
        self._tell(claimed, measurement, watched)
        if not watched.is_paused:
            claimed.forget()
        self._check_metric(measurement.reason)

    def _check_metric(self, reason: str) -> None:
        """Raise RepeatedFailure where no run of the study has had a metric, and all else was well.

        The runs of all workers count, those of earlier commands not as the ten: one goes on.
        """
        if not reason.startswith(METRIC_BECAME):
            return  # one that had a metric speaks for the study
        before = [str(t.user_attrs.get(REASON) or "") for t in self._next.measured]
        if self._n_before is None:
            self._n_before = len(before)
        runs = [*before, reason]
        if len(runs) - self._n_before < UNDEFINED_RUNS:
            return
        if all(one.startswith(METRIC_BECAME) for one in runs):
            raise RepeatedFailure(
                f"in all {len(runs)} runs of the study the {reason.partition(',')[0]}: look at how "
                "it is computed; the same command goes on"
            )

    def ended_by(self, claimed: Claimed, watched: WatchedRun, error: BaseException) -> None:
        """Tell of a run that has raised.

        Raises:
            RepeatedFailure: trials in a row failed the same way.
            DeviceLost: another process has to go on.
            BaseException: `error` itself, where the user's objective is not to blame for it.
        """
        if isinstance(error, Interrupted):
            self._hand_back(claimed, "ended by a signal")
            return
        if error is watched.broken:  # not the user's objective failed
            if isinstance(error, StudyError):  # but a pruner, which can be mended
                self._hand_back(claimed, str(error))
            raise error
        if is_out_of_memory(error):
            self._out_of_memory(claimed, error)
        else:
            self._fail(claimed, error)

    def _out_of_memory(self, claimed: Claimed, error: BaseException) -> None:
        size = claimed.params.batch_size
        said = (text_of(error) or kind_of(error)).splitlines()[0]
        free_memory(error)
        if claimed.fits and self._ledger.n_crowded_out(claimed.trial) < MAX_CROWDED:
            self._crowded_out(claimed, said[:300])
            return
        excuse: Excuse = claimed.limits.out_of_memory(size, f"ran out of memory: {said[:300]}")
        self._ledger.out_of_memory(claimed, excuse)
        claimed.forget()
        self.say(claimed, "ended", verdict=excuse.verdict.value)

    def _crowded_out(self, claimed: Claimed, said: str) -> None:
        """What is known to fit found no memory: something else has it, for a while."""
        why = (
            f"out of memory at batch size {claimed.params.batch_size}, which is known to fit: "
            f"something else uses the memory, and the trial is queued again ({said})"
        )
        self._ledger.crowded_out(claimed.trial, why)
        self.crowded = True
        self.say(claimed, "ended", verdict=QUEUED_AGAIN, reason=why)

    def _tell(self, claimed: Claimed, measured: Measurement, watched: WatchedRun) -> None:
        curve = watched.curve
        if measured.verdict is not Verdict.COMPLETED or measured.metric is None:
            self._ledger.stopped(claimed, measured, curve=curve, decision=watched.decision)
            self.say(claimed, "ended", verdict=measured.verdict.value)
            return
        values, grade = self._ledger.completed(claimed, measured, curve=curve)
        feasible = values if grade == 0.0 else None
        verdict = Verdict.OVER_BUDGET if grade else Verdict.COMPLETED
        self.say(
            claimed,
            "ended",
            values=feasible,
            metric=values[0],
            verdict=verdict.value,
            reason=measured.missing_steps,
        )

    def _fail(self, claimed: Claimed, error: BaseException) -> None:
        message = words_of(error)
        self._ledger.failed(claimed.trial, ERROR, message)
        claimed.forget()
        self.say(claimed, "ended", verdict="failed", reason=message)
        if is_device_lost(error, self._plan.device):
            raise DeviceLost(message) from error
        self._note_failure(error)

    def _hand_back(self, claimed: Claimed, why: str) -> None:
        """Hand the trial back, with its checkpoint, to whoever comes next."""
        self._ledger.handed_back(claimed.trial, why)
        self.say(claimed, "ended", verdict="interrupted", reason=why)

    def _note_failure(self, error: BaseException) -> None:
        self._failures.append(way_of_failing(error))
        last = self._failures[-SAME_FAILURES:]
        if len(last) == SAME_FAILURES and len(set(last)) == 1:
            how = f"the same way, at {last[0]}: {text_of(error)}"
            raise RepeatedFailure(f"{SAME_FAILURES} trials in a row failed {how}") from error
