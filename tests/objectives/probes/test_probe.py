"""A probe against planted costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import torch

from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.probes.cost import probe
from tests.objectives.conftest import train


def params(**changed: object) -> TrialParams:
    given = {"batch_size": 8, "learning_rate": 1e-3, "epochs": 20, "seed": 0, "device": "cpu"}
    return TrialParams(**(given | changed))  # type: ignore[arg-type]


STEP = 0.004  # seconds


def planted(wait, steps: int, step_seconds: float, validation_seconds: float = 0.0):
    """`wait(seconds)` lets time pass."""

    def objective(given, run):
        run.begin(given.epochs * steps)
        for _ in range(given.epochs):
            for _ in range(steps):
                wait(step_seconds)
                run.step(0.5)
            with run.validating():
                wait(validation_seconds)
            run.report(0.5)

    return objective


@pytest.mark.parametrize("steps", [3, 40, 10_000], ids=["short", "middle", "long epochs"])
def test_a_probe_finds_the_planted_step_time(fake, steps):
    loop = planted(fake.pass_by, steps, STEP)
    cost = probe(loop, params(), metric="val_accuracy", seconds=0.1)
    assert cost.step_seconds == pytest.approx(STEP)
    assert cost.total_steps == 20 * steps


def test_a_slow_validation_is_not_timed(fake):
    loop = planted(fake.pass_by, 3, STEP, 5 * STEP)
    cost = probe(loop, params(), metric="val_accuracy", seconds=0.05)
    assert cost.step_seconds == pytest.approx(STEP)


def test_a_wait_after_which_no_step_comes_is_no_share_of_the_steps(fake, monkeypatch):
    monkeypatch.setattr("batchfront.objectives.meters.metered.time", fake)
    monkeypatch.setattr("batchfront.objectives.probes.cost.BLOCK_SECONDS", 0.0)

    def batches():
        for _ in range(3):
            fake.pass_by(STEP)
            yield torch.zeros(1)
        fake.pass_by(20 * STEP)  # as a loader that ends its processes

    def loop(given, run):
        run.begin(given.epochs * 3)
        for _ in range(given.epochs):
            for _ in run.waited(batches()):
                fake.pass_by(3 * STEP)
                run.step(0.5)
            with run.validating():
                fake.pass_by(STEP)
            run.report(0.5)

    cost = probe(loop, params(), metric="val_accuracy", seconds=0.1)
    assert cost.step_seconds == pytest.approx(4 * STEP)
    assert cost.data_wait_share == pytest.approx(0.25)


@pytest.mark.timed
def test_a_probe_of_real_steps_takes_a_moment_and_never_less_than_they_do():
    slept = []

    def sleep(seconds: float) -> None:
        before = time.perf_counter()
        time.sleep(seconds)
        slept.append(time.perf_counter() - before)

    loop = planted(sleep, 10_000, 0.001)
    cost = probe(loop, params(), metric="val_accuracy", seconds=0.1)
    assert cost.step_seconds >= 0.001
    assert sum(slept) < 10  # of 200 s


def test_a_smaller_last_batch_is_part_of_a_short_epoch(fake):
    def objective(given, run):
        run.begin(2 * given.epochs)
        for _ in range(given.epochs):
            for seconds in (1.5 * STEP, 0.5 * STEP):
                fake.pass_by(seconds)
                run.step(0.5)
            run.report(0.5)

    cost = probe(objective, params(), metric="val_accuracy", seconds=0.03)
    assert cost.step_seconds == pytest.approx(STEP)


def test_too_few_steps_are_an_error_that_says_so():
    with pytest.raises(ObjectiveError, match="took 1 training steps in all"):
        probe(planted(time.sleep, 1, 0.001), params(epochs=1), metric="val_accuracy", seconds=0.1)


def test_the_probed_peak_is_that_of_a_whole_run(digits):
    cost = probe(digits, params(batch_size=64), metric="val_accuracy", seconds=0.05)
    whole = train(digits, batch_size=64).result().peak_memory_bytes
    assert whole - cost.peak_memory_bytes in (0, 4), "4 bytes: the guard's running sum"


def test_an_error_in_the_objective_is_passed_on():
    def objective(given, run):
        raise KeyError("data")

    with pytest.raises(KeyError):
        probe(objective, params(), metric="val_accuracy", seconds=0.1)


@pytest.mark.timed
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
