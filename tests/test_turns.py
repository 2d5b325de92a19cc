"""Tests of measured times run alone, and come to it."""

from __future__ import annotations

import fcntl
import threading
import time

import pytest

from tests import turns


@pytest.fixture(autouse=True)
def _own_locks(tmp_path, monkeypatch):
    """This test holds the others itself."""
    for name in ("QUEUE", "RUNNING"):
        (tmp_path / name).touch()
        monkeypatch.setattr(turns, name, tmp_path / name)


def _waits() -> bool:
    """Whether somebody waits to be alone."""
    with turns.QUEUE.open("rb") as queue:
        try:
            fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_one_that_runs_alone_waits_for_others_and_nobody_overtakes_it():
    ran = []

    def run(name: str, *, alone: bool) -> None:
        with turns.turn(alone=alone):
            ran.append(f"{name} begins")
            time.sleep(0.05)
            ran.append(f"{name} ends")

    late = [threading.Thread(target=run, args=("late",), kwargs={"alone": False}) for _ in range(2)]
    timed = threading.Thread(target=run, args=("timed",), kwargs={"alone": True})
    with turns.turn(alone=False), turns.turn(alone=False):  # two at once
        timed.start()
        while not _waits():
            time.sleep(0.001)
        for thread in late:
            thread.start()
        time.sleep(0.1)
        assert ran == []
    for thread in (timed, *late):
        thread.join(30)
    assert ran[:2] == ["timed begins", "timed ends"]
    assert len(ran) == 6
