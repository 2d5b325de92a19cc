"""Worker processes and the launcher that they talk to."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import resource_tracker

import pytest

from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.errors import StudyError
from batchfront.study.opening.open import open_study
from batchfront.study.workers.team import Team, _give_up, no_interrupt


def test_a_workers_last_word_to_a_launcher_that_is_gone_is_no_traceback():
    reader, writer = multiprocessing.Pipe(duplex=False)
    _give_up(writer, StudyError("heard"))
    assert str(reader.recv()) == "heard"
    reader.close()
    _give_up(writer, StudyError("nobody is left"))


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_workers", "workdir")
def test_ctrl_c_while_workers_start_is_heeded_once_they_can(journal, monkeypatch, capfd):
    """A terminal signals all of its processes; the worker still imports what it needs."""
    start = Team._start

    def start_and_interrupt(team, place):
        start(team, place)
        for pid in (place.process.pid, os.getpid()):
            os.kill(pid, signal.SIGINT)

    monkeypatch.setattr(Team, "_start", start_and_interrupt)
    options = ("--study-name", "early", "--n-trials", "6", "--n-workers", "2")
    assert main(["run", "--task", "planted.py", *options]) == 130
    assert "Traceback" not in capfd.readouterr().err
    assert open_study(open_storage(journal, mode="reader"), "early").trials == []


def test_ctrl_c_is_kept_from_the_first_process_too(monkeypatch):
    tracker = resource_tracker.ResourceTracker()
    monkeypatch.setattr(resource_tracker, "ensure_running", tracker.ensure_running)
    with no_interrupt():
        tracker.ensure_running()  # as every start does: the first time it lets signals through
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    tracker._stop()
