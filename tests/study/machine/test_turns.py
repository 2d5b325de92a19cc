"""Accelerators: held by one, or by a few together, and left empty."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch

from batchfront.study.machine.turns import Turn, device_turn

GPU = "meta:0"  # any name that is not the CPU's: locks ask for nothing else


@pytest.fixture(autouse=True)
def _own_locks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


@pytest.fixture
def hold() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def soon() -> bool:
    """Give up at the first question."""
    return True


def is_held(turn: Turn) -> bool:
    return bool(turn._held)


def test_a_device_is_held_by_one_and_waiting_for_it_can_be_given_up(hold):
    first = device_turn([GPU])
    with first as turn:
        assert is_held(turn)
        with device_turn([GPU], soon) as other:
            assert not is_held(other)
    assert is_held(hold.enter_context(device_turn([GPU], soon)))


def test_so_many_share_a_device_as_each_of_them_allows(hold):
    for _ in range(2):
        assert is_held(hold.enter_context(device_turn([GPU], soon, n_beside=2)))
    with device_turn([GPU], soon, n_beside=2) as third:
        assert not is_held(third)
    with device_turn([GPU], soon) as alone:
        assert not is_held(alone), "who measures shares with nobody"


def test_who_measures_waits_for_those_who_share_and_then_has_the_device_alone(hold):
    reader = device_turn([GPU], n_beside=2)
    reader.__enter__()
    turn = hold.enter_context(device_turn([GPU], n_beside=2))
    upgraded = threading.Event()

    def upgrade() -> None:
        turn.alone()
        upgraded.set()

    waiting = threading.Thread(target=upgrade)
    waiting.start()
    assert not upgraded.wait(0.3)
    with device_turn([GPU], soon, n_beside=2) as late:
        assert not is_held(late), "nobody gets past who waits to measure"
    reader.__exit__(None, None, None)
    waiting.join(timeout=5)
    assert upgraded.is_set()
    with device_turn([GPU], soon, n_beside=2) as other:
        assert not is_held(other)


def test_two_who_share_can_both_measure_one_after_the_other(hold):
    order: list[int] = []

    def work(number: int, ready: threading.Barrier) -> None:
        with device_turn([GPU], n_beside=2) as turn:
            ready.wait()
            turn.alone()
            order.append(number)
            time.sleep(0.05)
            order.append(number)

    ready = threading.Barrier(2)
    threads = [threading.Thread(target=work, args=(number, ready)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(order) == [0, 0, 1, 1]
    assert order[0] == order[1]


def test_unused_memory_is_given_back_before_the_next_one_comes(monkeypatch):
    given_back: list[bool] = []

    def empty() -> None:
        with device_turn([GPU], soon) as next_one:
            given_back.append(is_held(next_one))

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with device_turn([GPU]):
        monkeypatch.setattr(
            torch.accelerator,
            "empty_cache",
            lambda: (monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: None), empty()),
        )
    assert given_back == [False], "emptied while the device is still held"


def test_the_cpu_is_nobodys(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: pytest.fail("nothing to empty"))
    with device_turn(["cpu"]) as turn, device_turn(["cpu"], soon) as other:
        assert not is_held(turn)
        assert not is_held(other)
