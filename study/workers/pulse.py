"""Shows every few seconds that a worker lives, and hands on the trials of workers that do not.

On a database this is Optuna's own heartbeat, by the database's clock. Journals and gRPC have none:
there a worker counts up an attribute of its trial, and whoever sees the count stand still for the
grace period, by its own clock, takes the trial. Clocks of machines are never compared.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from batchfront.storage.patience import impatient
from batchfront.study.trials.attributes import OWNER, id_of
from batchfront.study.workers.retry import BEAT, fail_and_queue

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from batchfront.storage.shared import Heartbeat, SharedStorage

log = logging.getLogger("batchfront")


class Pulse:
    """A thread of a worker; used as a context manager around all of its trials."""

    def __init__(self, *, storage: SharedStorage, study: Study, heartbeat: Heartbeat) -> None:
        self._storage = storage
        self._study = study
        self._interval = heartbeat.interval_seconds
        self._silence = Silence(heartbeat.grace_seconds)
        self._trial_id: int | None = None
        self._count = 0
        self._ended = threading.Event()
        self._lock = threading.Lock()  # no beat of a trial after it was let go
        self._thread = threading.Thread(target=self._live, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join(timeout=self._interval)

    def hold(self, trial: Trial) -> None:
        """Beat for this trial, now and from now on."""
        with self._lock:
            self._trial_id, self._count = id_of(trial), 0
            self._beat()

    def let_go(self) -> None:
        """The trial has ended."""
        with self._lock:
            self._trial_id = None

    def _live(self) -> None:
        due, away = time.monotonic(), False
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            # Whoever was paused itself has missed the beats of others; and after a storage was
            # away, all get an interval to beat again.
            missed = away or time.monotonic() - due > self._interval
            due = time.monotonic() + self._interval
            away = not self._round(missed=missed)

    def _round(self, *, missed: bool) -> bool:
        """Whether the storage answered; one that is away is asked again in the next round.

        Not waited for here: the worker would wait for our lock meanwhile.
        """
        try:
            with impatient():
                with self._lock:
                    self._beat()
                self._look_for_the_dead(missed=missed)
        except Exception as error:  # the trial goes on without
            log.debug("no heartbeat: %s", error)
            return False
        return True

    def _beat(self) -> None:
        from optuna.storages import RDBStorage

        if self._trial_id is None:
            return
        if isinstance(self._storage, RDBStorage):
            self._storage.record_heartbeat(self._trial_id)
            return
        self._count += 1
        self._storage.set_trial_system_attr(self._trial_id, BEAT, self._count)

    def _look_for_the_dead(self, *, missed: bool) -> None:
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        if missed:
            self._silence.forget()
            return
        fail_stale_trials(self._study)  # whoever runs workers has silenced its warning
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in self._silence.too_long(running):
            fail_and_queue(self._storage, self._study, trial)


class Silence:
    """Since when each running trial has shown no new sign of life, by the clock of who watches."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._seen: dict[int, tuple[Any, float]] = {}  # by number: the last sign, and since when

    def forget(self) -> None:
        """Start anew."""
        self._seen.clear()

    def too_long(self, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """Trials silent for longer than the grace period.

        Those with a heartbeat of the database are not ours to judge; those whose worker died
        before it wrote its name are.
        """
        now = time.monotonic()
        judged = [t for t in running if BEAT in t.system_attrs or OWNER not in t.user_attrs]
        before, self._seen = self._seen, {}
        for trial in judged:
            sign = trial.system_attrs.get(BEAT)
            last, since = before.get(trial.number, (sign, now))
            self._seen[trial.number] = (sign, since if sign == last else now)
        return [t for t in judged if now - self._seen[t.number][1] > self._grace_seconds]
