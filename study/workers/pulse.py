"""Shows every few seconds that a worker lives, and fails the trials of workers that do not.

A database keeps Optuna's own heartbeat, which is when it was last written. Journals and gRPC have
none: there a worker counts up an attribute of its trial. Either is only a sign that changes:
whoever sees it stand still for the grace period, by its own clock, fails the trial. Clocks are
never compared: one that is set, also by an hour in spring, ends nobody's trial.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.storage.patience import impatient
from batchfront.study.trials.attributes import id_of
from batchfront.study.workers.retry import BEAT, LEASE, fail_lost
from batchfront.study.workers.silence import Silence

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

    from batchfront.storage.shared import SharedStorage

LONGEST_LEASE = 10  # times the grace period
log = logging.getLogger("batchfront")


@dataclass
class Beats:
    """What is known of one trial's."""

    count: int = 0
    last_at: float | None = None  # of time.monotonic()


class Pulse:
    """Two threads of a worker; used as a context manager around all of its trials.

    One beats and the other looks for the dead: looking may take long while all are busy.
    """

    def __init__(self, *, storage: SharedStorage, study: Study, grace_seconds: float) -> None:
        self._storage = storage
        self._study = study
        self._grace_seconds = grace_seconds
        self._interval = grace_seconds / 4  # so that one beat may be late
        self._silence = Silence(grace_seconds)
        self._held: dict[int, Beats] = {}  # by the id of their trial
        self._late_seconds = 0.0  # the latest of the beats of late
        self._ended = threading.Event()
        self._lock = threading.Lock()  # no beat of a trial after it was let go
        self._threads = [
            threading.Thread(target=self._live, args=(each,), name=name, daemon=True)
            for name, each in (("pulse", self._show), ("watch", self._look_for_the_dead))
        ]

    def __enter__(self) -> Pulse:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=self._interval)

    @property
    def lease_seconds(self) -> float:
        """The seconds this worker may be silent: more where its beats have been late."""
        wanted = self._grace_seconds + 2 * self._late_seconds
        return min(wanted, LONGEST_LEASE * self._grace_seconds)

    def hold(self, trial: Trial) -> None:
        """Beat for this trial, too, now and from now on."""
        with self._lock:
            self._held[id_of(trial)] = Beats()
            self._late_seconds /= 2  # what made them late may have passed
            self._beat(id_of(trial))

    def let_go(self, trial: Trial | None = None) -> None:
        """The trial has ended; all that are held, where none is named."""
        with self._lock:
            for trial_id in list(self._held) if trial is None else [id_of(trial)]:
                self._held.pop(trial_id, None)

    def _live(self, each: Callable[..., None]) -> None:
        due, away = time.monotonic() + self._interval, False
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            # Whoever was paused itself has missed the beats of others; and after a storage was
            # away, all get an interval to beat again.
            missed = away or time.monotonic() - due > self._interval
            due = time.monotonic() + self._interval
            away = not self._answered(each, missed=missed)

    @staticmethod
    def _answered(each: Callable[..., None], *, missed: bool) -> bool:
        """Whether the storage answered; one that is away is asked again in the next round.

        Not waited for here: the worker would wait for our lock meanwhile.
        """
        try:
            with impatient():
                each(missed=missed)
        except Exception as error:  # the trial goes on without
            log.debug("no heartbeat: %s", error)
            return False
        return True

    def _show(self, *, missed: bool) -> None:
        with self._lock:
            failed = [error for error in map(self._tried, list(self._held)) if error is not None]
        if failed:
            raise failed[0]

    def _tried(self, trial_id: int) -> Exception | None:
        """Beat for one of them; the others are to beat whatever it meets."""
        try:
            self._beat(trial_id)
        except Exception as error:
            return error
        return None

    def _beat(self, trial_id: int) -> None:
        from optuna.storages import RDBStorage

        if isinstance(self._storage, RDBStorage):
            self._storage.record_heartbeat(trial_id)
        else:
            beats = self._held[trial_id]
            beats.count += 1
            self._storage.set_trial_system_attr(trial_id, BEAT, beats.count)
        self._note_how_late(trial_id)

    def _note_how_late(self, trial_id: int) -> None:
        """Tell the others to wait longer where a busy machine or storage makes beats late."""
        beats = self._held[trial_id]
        before, beats.last_at = beats.last_at, time.monotonic()
        late = 0.0 if before is None else beats.last_at - before - self._interval
        if late > self._interval / 2 and late > 1.25 * self._late_seconds:
            self._late_seconds = late
            self._storage.set_trial_system_attr(trial_id, LEASE, self.lease_seconds)

    def _look_for_the_dead(self, *, missed: bool) -> None:
        from optuna.trial import TrialState

        if missed:
            self._silence.forget()
        asked_at = time.monotonic()
        heartbeats = self._storage.get_heartbeats(self._study._study_id)
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in self._silence.too_long(running, heartbeats, asked_at):
            fail_lost(self._storage, trial)
