"""The time and the memory that a `Run` counts as those of training."""

from __future__ import annotations

import pytest
import torch

from batchfront.objectives.meters.memory import MEASURED_STEPS
from batchfront.objectives.run import Run
from tests.objectives.conftest import run_of

MEGABYTE = 2**20


def test_validation_and_stop_rules_take_no_training_time(fake):
    def slow_rule(curve: tuple[float, ...]) -> None:
        fake.pass_by(0.25)

    def loop(run: Run) -> None:
        run.begin(20)
        for _ in range(2):
            for _ in range(10):
                fake.pass_by(0.001)
                run.step(1.0)
            with run.validating():
                fake.pass_by(0.25)
            run.report(0.5)

    result = run_of(loop, should_stop=slow_rule).result()
    assert result.train_seconds == pytest.approx(0.02)


def test_an_error_in_validation_leaves_the_clock_running(fake):
    def loop(run: Run) -> None:
        run.begin(10)
        for _ in range(2):
            with pytest.raises(KeyError), run.validating():
                raise KeyError
            fake.pass_by(0.03)
            run.step(1.0)
            run.report(0.5)

    assert run_of(loop).result().train_seconds == pytest.approx(0.06)


@pytest.mark.parametrize(("validating", "counted"), [(True, False), (False, True)])
def test_memory_of_a_validation_is_not_that_of_training(validating, counted):
    def loop(run: Run) -> None:
        run.begin(10)
        if validating:
            with run.validating():
                torch.zeros(8 * MEGABYTE, dtype=torch.uint8)
        else:
            torch.zeros(8 * MEGABYTE, dtype=torch.uint8)
        run.step(1.0)
        run.report(0.5)

    peak = run_of(loop).result().peak_memory_bytes
    assert (peak >= 8 * MEGABYTE) == counted


def test_memory_is_measured_over_the_first_steps_only():
    def loop(run: Run) -> None:
        run.begin(10)
        for n in range(1, MEASURED_STEPS + 3):
            torch.zeros(n * MEGABYTE, dtype=torch.uint8)
            run.step(1.0)
        run.report(0.5)

    assert run_of(loop).result().peak_memory_bytes == MEASURED_STEPS * MEGABYTE


def test_a_run_whose_memory_is_known_is_not_slowed_down_by_measuring_it():
    seen = []

    def loop(run: Run) -> None:
        run.begin(10)
        seen.append(torch.utils._python_dispatch._get_current_dispatch_mode())
        torch.zeros(MEGABYTE)
        run.step(1.0)
        run.report(0.5)

    assert run_of(loop, measure_memory=False).result().peak_memory_bytes == 0
    assert run_of(loop).result().peak_memory_bytes > 0
    assert [mode is None for mode in seen] == [True, False]


def test_epochs_slowed_down_by_measuring_memory_take_no_part_in_the_time(fake):
    def loop(run: Run) -> None:
        run.begin(6)
        for epoch in range(3):
            for _ in range(2):
                fake.pass_by(0.001 if epoch == 2 else 0.1)
                run.step(1.0)
            run.report(0.5)

    # 0.402 s as spent; the second epoch holds the third, last metered step
    assert run_of(loop).result().train_seconds == pytest.approx(0.006)


def test_what_is_loaded_is_no_memory_and_no_time_of_training():
    import time

    import torch

    run = Run(device="cpu")
    with run:
        run.begin(4)
        with run.loading():
            data = torch.zeros(1_000_000)  # 4 MB
            time.sleep(0.1)
        for _ in range(4):
            run.step(float(data[:10].add(1).mean()))
        run.report(0.5)
    measured = run.result()
    assert measured.peak_memory_bytes < 1_000_000
    assert measured.train_seconds < 0.1
