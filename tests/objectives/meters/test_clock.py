"""Laps of known length, on a clock that tests turn by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from batchfront.objectives.meters.clock import Clock, synchronizer
from tests.objectives.conftest import FakeTime


def laps(fake: FakeTime, seconds: list[float], *, instrumented: tuple[int, ...] = ()) -> Clock:
    made = Clock()
    made.start()
    for n, length in enumerate(seconds):
        fake.pass_by(length)
        with made.standing_still():
            made.lap(instrumented=n in instrumented)
    made.stop()
    return made


@pytest.mark.parametrize(
    ("seconds", "instrumented", "warm"),
    [
        ([9.0, 1.0, 2.0, 30.0, 1.5], (), [1, 2, 3, 4]),  # the first is never warm
        ([9.0, 7.0, 2.0, 3.0], (0, 1), [2, 3]),
        ([9.0, 1.0], (0,), [1]),
    ],
)
def test_typical_time_is_the_median_warm_lap_times_all_laps(fake, seconds, instrumented, warm):
    expected = len(seconds) * np.median([seconds[n] for n in warm])
    wall, process = laps(fake, seconds, instrumented=instrumented).typical()
    assert wall == pytest.approx(expected)
    assert process == pytest.approx(expected / 2)


def test_typical_time_of_laps_of_unequal_steps_is_the_median_warm_pace_times_all_steps(fake):
    steps, pace = [2, 2, 3, 2, 3], [9.0, 1.0, 1.1, 5.0, 1.2]  # seconds a step
    made = Clock()
    made.start()
    for n, seconds in zip(steps, pace, strict=True):
        fake.pass_by(n * seconds)
        with made.standing_still():
            made.lap(instrumented=False, steps=n)
    made.stop()
    assert made.typical()[0] == pytest.approx(sum(steps) * np.median(pace[1:]))
    again = Clock()
    again.go_on_from(made.laps())
    assert again.typical() == made.typical()
    again.go_on_from([lap[:3] for lap in made.laps()])  # as older versions kept them
    warm = [n * seconds for n, seconds in zip(steps, pace, strict=True)][1:]
    assert again.typical()[0] == pytest.approx(5 * np.median(warm))


@pytest.mark.parametrize(
    ("seconds", "instrumented"), [([4.0], ()), ([4.0, 5.0], (1,)), ([4.0, 5.0, 6.0], (0, 1, 2))]
)
def test_without_a_warm_lap_time_is_what_was_spent(fake, seconds, instrumented):
    wall, process = laps(fake, seconds, instrumented=instrumented).typical()
    assert (wall, process) == pytest.approx((sum(seconds), sum(seconds) / 2))


def test_time_spent_counts_every_lap_and_the_one_in_progress(fake):
    made = laps(fake, [9.0, 1.0])
    made.start()
    fake.pass_by(0.5)
    made.stop()
    assert made.spent()[0] == pytest.approx(10.5)
    assert made.typical()[0] == pytest.approx(2.0)


def test_nothing_counts_while_the_clock_stands_still(fake):
    made = Clock()
    fake.pass_by(5)  # before the start
    made.start()
    fake.pass_by(1)
    with made.standing_still():
        fake.pass_by(50)
        with made.standing_still():
            fake.pass_by(500)
        fake.pass_by(50)
    fake.pass_by(2)
    made.stop()
    fake.pass_by(5)
    assert made.spent()[0] == pytest.approx(3)


def test_a_clock_that_did_not_run_is_not_started_by_standing_still(fake):
    made = Clock()
    with made.standing_still():
        fake.pass_by(1)
    fake.pass_by(1)
    made.stop()
    assert made.spent()[0] == 0


def test_starting_and_stopping_twice_changes_nothing(fake):
    made = Clock()
    for act in (made.start, made.start, made.stop, made.stop):
        act()
        fake.pass_by(1)
    assert made.spent()[0] == pytest.approx(2)


def test_work_queued_on_a_device_counts_where_it_was_queued(fake):
    queue: list[float] = []

    def synchronize() -> None:
        fake.pass_by(sum(queue))
        queue.clear()

    made = Clock(synchronize)
    queue.append(50)  # before the start
    made.start()
    queue.append(1)
    with made.standing_still():
        queue.append(500)
    queue.append(2)
    made.stop()
    assert made.spent()[0] == pytest.approx(3)


def test_there_is_nothing_to_wait_for_on_the_cpu():
    wait: Callable[[], Any] = synchronizer("cpu")
    assert wait() is None


def test_cpu_time_tells_work_from_waiting():
    made = Clock()
    made.start()
    time.sleep(0.2)
    made.stop()
    wall, process = made.spent()
    assert wall >= 0.2
    assert process < wall / 2
