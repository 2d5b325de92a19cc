"""What a loop of your own does between its epochs counts at every batch size, or at none."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.probes.between import between_epochs
from batchfront.objectives.run import Run
from batchfront.study.probes.prober import Prober

N_TRAIN, STEP, END = 600, 0.0005, 0.3  # examples, seconds, seconds


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def params_of(size: int) -> TrialParams:
    return TrialParams.over(
        Length(amount=20), batch_size=size, learning_rate=0.1, seed=0, device="cpu"
    )


def loop(*, where: str) -> CustomLoop:
    """A loop that works at an epoch's end: before its report, after it, or while it validates."""

    def objective(params: TrialParams, run: Run) -> None:
        steps = N_TRAIN // params.batch_size
        run.begin(steps * params.epochs)
        for _ in range(params.epochs):
            for _ in range(steps):
                spin(STEP)
                run.step(1.0)
            with run.validating():
                spin(END if where == "validating" else 0.0)
            spin(END if where == "before" else 0.0)
            run.report(0.5)
            spin(END if where == "after" else 0.0)

    return CustomLoop(function=objective)


@pytest.mark.parametrize(("where", "seconds"), [("before", END), ("after", END), ("validating", 0)])
def test_what_lies_between_two_epochs_is_told_from_steps_and_validation(where, seconds):
    found = between_epochs(loop(where=where), params_of(64), metric=None)
    assert found == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_small_size_whose_probe_sees_no_end_of_an_epoch_is_told_it(where, monkeypatch):
    monkeypatch.setattr("batchfront.objectives.probes.between.MOST_SECONDS", 0.1)
    monkeypatch.setattr("batchfront.study.probes.prober.SHORT_EPOCH_SECONDS", 0.05)
    prober = Prober(loop(where=where), length=Length(amount=20), device="cpu", rate=0.1)
    costs = prober.sizes([1, 60])
    for size, steps in ((1, 600), (60, 10)):
        whole = STEP + END / steps
        assert costs[size].step_seconds == pytest.approx(whole, rel=0.25), size
    slow = replace(costs[1], step_seconds=2 * costs[1].step_seconds)
    worker = Prober(loop(where=where), length=Length(amount=20), device="cpu", rate=0.1)
    again = worker.again(1, {**costs, 1: slow}).step_seconds
    assert again == pytest.approx(STEP + END / 600, rel=0.25), "in another process as well"


def test_no_size_runs_before_its_own_probe():
    first: dict[int, bool] = {}
    inner = loop(where="before").function

    def noted(params: TrialParams, run: Run) -> None:
        first.setdefault(params.batch_size, run.measures_memory)
        inner(params, run)

    prober = Prober(CustomLoop(function=noted), length=Length(amount=20), device="cpu", rate=0.1)
    prober.sizes([1, 60])
    assert first == {1: True, 60: True}, "epochs' ends are timed without a look at memory"


def test_an_epoch_that_does_not_end_soon_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("batchfront.objectives.probes.between.MOST_SECONDS", 0.1)

    def endless(params: TrialParams, run: Run) -> None:
        run.begin(10**9)
        while True:
            spin(0.001)
            run.step(1.0)

    assert between_epochs(endless, params_of(1), metric=None) == 0.0
