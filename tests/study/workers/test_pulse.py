"""The thread that shows that a worker lives, while the storage is away."""

from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace
from typing import Any

from batchfront.storage.patience import waits_for_server
from batchfront.study.workers.pulse import Beats, Pulse
from batchfront.study.workers.retry import LEASE
from tests.study.workers.test_dead_workers import wait_until


class Losing:
    """A storage that loses the first calls."""

    def __init__(self, lost: float) -> None:
        self.lost, self.n_answered, self.said = lost, 0, {}

    def get_heartbeats(self, study_id: int) -> dict[int, Any]:
        self._lose()
        return {}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._lose()
        self.n_answered += 1
        self.said[key] = value

    def _lose(self) -> None:
        self.lost -= 1
        if self.lost >= 0:
            raise ConnectionError


@waits_for_server(lambda error: isinstance(error, ConnectionError))
class Gone(Losing):
    """As one on a server: calls wait for it."""


def pulse_of(storage: Gone) -> Pulse:
    study = SimpleNamespace(get_trials=lambda **_: [], _study_id=0)
    pulse = Pulse(storage=storage, study=study, grace_seconds=0.4)
    pulse._held[0] = Beats()
    return pulse


def test_a_pulse_whose_server_is_away_does_not_keep_its_worker_waiting():
    with pulse_of(Gone(math.inf)) as pulse:
        time.sleep(0.3)
        letting_go = threading.Thread(target=pulse.let_go, daemon=True)
        letting_go.start()
        letting_go.join(10)
        assert not letting_go.is_alive()


def test_after_a_storage_was_away_all_may_beat_again_before_anybody_counts_as_dead(monkeypatch):
    forgotten = []
    monkeypatch.setattr(
        "batchfront.study.workers.silence.Silence.forget", lambda self: forgotten.append(True)
    )
    with pulse_of(Gone(4)):
        wait_until(lambda: forgotten)


def test_a_worker_whose_beats_are_late_asks_to_be_waited_for_longer(monkeypatch):
    now, storage = [0.0], Gone(0)
    monkeypatch.setattr("batchfront.study.workers.pulse.time.monotonic", lambda: now[0])
    pulse = Pulse(storage=storage, study=SimpleNamespace(_study_id=0), grace_seconds=4.0)
    pulse._held[0] = Beats()
    leases = []
    for late in (0.0, 0.2, 3.0, 0.1, 100.0):
        now[0] += 1.0 + late
        pulse._beat(0)
        leases.append(pulse.lease_seconds)
    assert leases == [4.0, 4.0, 10.0, 10.0, 40.0]  # twice as late is waited for; ten times at most
    assert storage.said[LEASE] == 40.0
