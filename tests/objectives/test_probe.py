"""A probe against planted costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from objectives.measurement import ObjectiveError, TrialParams
from objectives.probe import probe
from tests.objectives.conftest import train


def params(**changed: object) -> TrialParams:
    given = {"batch_size": 8, "learning_rate": 1e-3, "epochs": 20, "seed": 0, "device": "cpu"}
    return TrialParams(**(given | changed))  # type: ignore[arg-type]


STEP = 0.004  # seconds; slept, so that a busy machine hardly changes it


def planted(steps: int, step_seconds: float, validation_seconds: float = 0.0, seen=None):
    def objective(given, run):
        run.begin(given.epochs * steps)
        for _ in range(given.epochs):
            for _ in range(steps):
                time.sleep(step_seconds)
                run.step(0.5)
                if seen is not None:
                    seen.append(1)
            with run.validating():
                time.sleep(validation_seconds)
            run.report(0.5)

    return objective


@pytest.mark.parametrize("steps", [3, 40, 10_000], ids=["short", "middle", "long epochs"])
def test_a_probe_finds_the_planted_step_time(steps):
    cost = probe(planted(steps, STEP), params(), metric="val_accuracy", seconds=0.1)
    assert cost.step_seconds == pytest.approx(STEP, rel=0.25)
    assert cost.total_steps == 20 * steps


def test_a_slow_validation_is_not_timed():
    cost = probe(planted(3, STEP, 5 * STEP), params(), metric="val_accuracy", seconds=0.05)
    assert cost.step_seconds == pytest.approx(STEP, rel=0.25)


def test_a_probe_stops_after_a_moment():
    seen: list[int] = []
    started = time.perf_counter()
    probe(planted(10_000, 0.001, seen=seen), params(), metric="val_accuracy", seconds=0.1)
    assert time.perf_counter() - started < 2
    assert len(seen) < 2000


def test_a_smaller_last_batch_is_part_of_a_short_epoch():
    def objective(given, run):
        run.begin(2 * given.epochs)
        for _ in range(given.epochs):
            for seconds in (1.5 * STEP, 0.5 * STEP):
                time.sleep(seconds)
                run.step(0.5)
            run.report(0.5)

    cost = probe(objective, params(), metric="val_accuracy", seconds=0.03)
    assert cost.step_seconds == pytest.approx(STEP, rel=0.25)


def test_too_few_steps_are_an_error_that_says_so():
    with pytest.raises(ObjectiveError, match="took 1 training steps in all"):
        probe(planted(1, 0.001), params(epochs=1), metric="val_accuracy", seconds=0.1)


def test_the_probed_peak_is_that_of_a_whole_run(digits):
    cost = probe(digits, params(batch_size=64), metric="val_accuracy", seconds=0.05)
    whole = train(digits, batch_size=64).result().peak_memory_bytes
    assert whole - cost.peak_memory_bytes in (0, 4), "4 bytes: the guard's running sum"


def test_an_error_in_the_objective_is_passed_on():
    def objective(given, run):
        raise KeyError("data")

    with pytest.raises(KeyError):
        probe(objective, params(), metric="val_accuracy", seconds=0.1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs pinning")
def test_a_shared_core_shows_as_not_busy_enough(digits):
    allowed = os.sched_getaffinity(0)
    core = min(allowed)
    burner = subprocess.Popen([sys.executable, "-c", f"""
import os
os.sched_setaffinity(0, {{{core}}})
while True: pass
"""])  # fmt: skip
    os.sched_setaffinity(0, {core})
    try:
        time.sleep(0.3)
        cost = probe(digits, params(batch_size=1), metric="val_accuracy", seconds=0.5)
    finally:
        os.sched_setaffinity(0, allowed)
        burner.kill()
        burner.wait()
    assert cost.busy < 0.9
