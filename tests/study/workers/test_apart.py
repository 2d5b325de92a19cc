"""Calls in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from batchfront.objectives.measurement import MetricError, ObjectiveError
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.probes.prober import DeviceGone
from batchfront.study.workers.apart import Ask, Died, apart
from tests.study.fake_cuda import lives


def adds(ask: Ask, interrupts: Interrupts, a: int, b: int) -> tuple[int, int]:
    return os.getpid(), ask(a) + ask(b)


def test_it_asks_and_answers_and_has_ended_then():
    pid, found = apart(adds, 3, 4, hear=lambda said: 10 * said)
    assert found == 70
    assert pid != os.getpid()
    assert not lives(pid)


def fails(ask: Ask, interrupts: Interrupts, error: Any) -> None:
    if isinstance(error, int):
        os.kill(os.getpid(), error)
    raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StudyError("found so"), StudyError),
        (MetricError("no metric"), ObjectiveError),
        (DeviceGone("lost"), DeviceGone),
        (OSError(28, "No space left on device", "kept.pt"), OSError),
    ],
)
def test_what_a_user_can_mend_comes_as_it_was_raised(error, told):
    with pytest.raises(told) as caught:
        apart(fails, error)
    assert str(caught.value) == str(error)


def asks(ask: Ask, interrupts: Interrupts) -> str:
    return str(ask("may I?"))


@pytest.mark.timeout(60)
def test_what_fails_while_it_is_answered_is_raised_and_nobody_waits():
    """As where what it says cannot be printed: the disk is full behind `2> log`."""

    def hear(said: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        apart(asks, hear=hear)


@pytest.mark.parametrize(
    ("how", "said"),
    [(signal.SIGKILL, "by SIGKILL"), (SystemExit(3), "with exit code 3")],
)
def test_one_that_dies_is_told_how(how, said):
    with pytest.raises(Died, match=said):
        apart(fails, how)


def hands_back(ask: Ask, interrupts: Interrupts) -> str:
    ask(os.getpid())
    while interrupts.signum is None:
        time.sleep(0.01)
    return "handed back"


def test_a_signal_that_is_only_noted_here_is_passed_on_and_the_answer_waited_for():
    interrupts = Interrupts()

    def hear(pid: int) -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with interrupts.installed():
        assert apart(hands_back, hear=hear, interrupts=interrupts) == "handed back"
    assert interrupts.signum == signal.SIGINT


class Refused(Exception):
    pass


def test_one_whose_caller_gives_up_is_ended():
    pids: list[int] = []

    def refuse(pid: int) -> None:
        pids.append(pid)
        raise Refused

    with pytest.raises(Refused):
        apart(hands_back, hear=refuse)
    assert not lives(*pids)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_workers")
def test_a_process_that_is_started_as_for_a_user_answers_too():
    assert apart(adds, 3, 4, hear=lambda said: said)[1] == 7
