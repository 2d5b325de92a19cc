"""Steps that are reported together, and steps that are not reported."""

from __future__ import annotations

from typing import Any

import pytest

from batchfront.objectives.measurement import ObjectiveError, TrialParams, Verdict
from batchfront.objectives.probes.cost import probe
from batchfront.objectives.run import Run, carry_out

PARAMS = TrialParams(batch_size=8, learning_rate=0.1, epochs=3, seed=0, device="cpu")


def loop_of(fake: Any, *, every: int, n: int, announced: int = 50) -> Any:
    """50 steps of 4 ms an epoch, of which every so many are reported, as n."""

    def loop(params: TrialParams, run: Run) -> None:
        run.begin(params.epochs * announced)
        for _ in range(params.epochs):
            for step in range(1, 51):
                fake.pass_by(0.004)
                if every and step % every == 0:
                    run.step(0.5, n=n)
            run.report(0.5)

    return loop


def measured(loop: Any) -> Any:
    run = Run(measure_memory=False)
    carry_out(loop, PARAMS, run)
    return run.result()


@pytest.mark.parametrize(("every", "n"), [(1, 1), (10, 10), (50, 50)])
def test_steps_that_are_reported_together_are_timed_as_single_ones(fake, every, n):
    loop = loop_of(fake, every=every, n=n)
    cost = probe(loop, PARAMS, metric="val_accuracy", seconds=0.1, measure_memory=False)
    assert cost.step_seconds == pytest.approx(0.004)
    result = measured(loop)
    assert (result.steps, result.total_steps, result.missing_steps) == (150, 150, "")
    assert result.train_seconds == pytest.approx(0.6)


def test_the_guard_sees_every_step_of_a_mean():
    def loop(params: TrialParams, run: Run) -> None:
        run.begin(1000, baseline_loss=1.0)
        for _ in range(100):
            run.step(50.0, n=10)

    one = Run(measure_memory=False)
    carry_out(loop, PARAMS, one)
    result = one.result()
    assert result.verdict is Verdict.STALLED
    assert result.steps < 200


@pytest.mark.parametrize("n", [0, -1])
def test_no_number_of_steps_is_refused(n):
    run = Run(measure_memory=False)
    run.begin(10)
    with pytest.raises(ObjectiveError, match=r"n=.*wanted optimizer steps, at least 1"):
        run.step(0.5, n=n)


@pytest.mark.parametrize("every", [10, 0])
def test_fewer_steps_than_announced_are_said_and_the_runs_own_clock_counts(fake, every):
    result = measured(loop_of(fake, every=every, n=1))
    said = f"after epoch 1 of 3 the loop had reported {5 if every else 0} training steps"
    assert said in result.missing_steps
    assert "announced 50" in result.missing_steps
    assert "run.step(mean_loss, n=10)" in result.missing_steps
    assert result.train_seconds == result.planned_train_seconds == pytest.approx(0.6)


def test_a_probe_of_a_loop_that_reports_no_step_says_what_to_call(fake):
    loop = loop_of(fake, every=0, n=1)
    with pytest.raises(ObjectiveError, match=r"no training step: call run\.step\(loss\)"):
        probe(loop, PARAMS, metric="val_accuracy", seconds=0.1, measure_memory=False)


def test_a_run_that_reports_no_step_is_metered_for_one_epoch_and_no_longer():
    run = Run()
    with run:
        run.begin(100)
        for _ in range(3):
            assert run._meter._watching == (not run.curve)
            run.report(0.5)


@pytest.mark.parametrize("announced", [50, 51, 55])
def test_an_early_end_and_a_rounded_announcement_are_nothing_to_say(fake, announced):
    def loop(params: TrialParams, run: Run) -> None:
        run.begin(params.epochs * announced)
        for _ in range(params.epochs - 1):
            for _ in range(50):
                run.step(0.5)
            run.report(0.5)

    result = measured(loop)
    assert (result.steps, result.missing_steps) == (100, "")


def test_the_share_done_is_that_of_the_epochs_where_steps_are_missing(fake):
    shares = []
    run = Run(measure_memory=False)
    run.should_stop = lambda curve: shares.append(run.share_done)
    carry_out(loop_of(fake, every=10, n=1), PARAMS, run)
    assert shares == [1 / 3, 2 / 3, 1]
