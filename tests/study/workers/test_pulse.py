"""The thread that shows that a worker lives, while the storage is away."""

from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace
from typing import Any

from batchfront.storage.patience import waits_for_server
from batchfront.study.workers.pulse import Pulse
from tests.study.workers.test_dead_workers import wait_until


class Losing:
    """A storage that loses the first calls."""

    def __init__(self, lost: float) -> None:
        self.lost, self.n_answered = lost, 0

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.lost -= 1
        if self.lost >= 0:
            raise ConnectionError
        self.n_answered += 1


@waits_for_server(lambda error: isinstance(error, ConnectionError))
class Gone(Losing):
    """As one on a server: calls wait for it."""


def pulse_of(storage: Gone) -> Pulse:
    study = SimpleNamespace(get_trials=lambda **_: [])
    heartbeat = SimpleNamespace(interval_seconds=0.1, grace_seconds=1)
    pulse = Pulse(storage=storage, study=study, heartbeat=heartbeat)
    pulse._trial_id = 0
    return pulse


def test_a_pulse_whose_server_is_away_does_not_keep_its_worker_waiting():
    with pulse_of(Gone(math.inf)) as pulse:
        time.sleep(0.3)
        letting_go = threading.Thread(target=pulse.let_go, daemon=True)
        letting_go.start()
        letting_go.join(10)
        assert not letting_go.is_alive()


def test_after_a_storage_was_away_all_may_beat_again_before_anybody_counts_as_dead(monkeypatch):
    storage, looks = Gone(2), []
    monkeypatch.setattr(
        "optuna.storages.fail_stale_trials", lambda study: looks.append(storage.n_answered)
    )
    with pulse_of(storage):
        wait_until(lambda: looks)
    assert looks[0] >= 2
