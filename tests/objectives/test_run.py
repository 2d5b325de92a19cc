"""What a training loop may expect of its `Run`, and what a worker reads from it."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
import torch

from batchfront.objectives.measurement import ObjectiveError, Stopped, Verdict
from batchfront.objectives.meters.limit import TimeLimit
from batchfront.objectives.run import Run
from tests.objectives.conftest import made_task, ready, run_of, train


def epochs_of(
    *metrics: float, steps: int = 10, loss: float = 1.0, total_steps: int | None = None
) -> Any:
    """A loop that reports these metrics, one per epoch."""

    def loop(run: Run) -> None:
        run.begin(total_steps or steps * len(metrics), baseline_loss=2.0)
        for epoch, metric in enumerate(metrics):
            for step in range(steps):
                run.step(loss if epoch + step else min(loss, 2.0))  # nothing begins exploded
            run.report(metric)

    return loop


def test_a_finished_run_tells_what_it_reported():
    result = run_of(epochs_of(0.2, 0.9, 0.8)).result()
    assert result.verdict is Verdict.COMPLETED
    assert result.reason == ""
    assert result.metric_curve == (0.2, 0.9, 0.8)
    assert (result.metric, result.best_metric) == (0.8, 0.9)
    assert (result.steps, result.total_steps) == (30, 30)
    assert result.train_loss == 1.0


def exploding(run: Run) -> None:
    run.begin(1000, baseline_loss=1.0)
    for loss in [1.0] + [50.0] * 999:
        run.step(loss)
    raise AssertionError("the guard slept")


def test_the_verdict_survives_a_loop_that_swallows_it():
    def careless(run: Run) -> None:
        try:
            exploding(run)
        except Exception:  # as user code does
            return

    result = run_of(careless).result()
    assert result.verdict is Verdict.DIVERGED
    assert "against 1 " in result.reason


@pytest.mark.parametrize("call", [lambda run: run.step(0.1), lambda run: run.report(0.99)])
def test_a_loop_that_swallows_the_verdict_and_goes_on_is_stopped_at_once(call):
    raised = []

    def stubborn(run: Run) -> None:
        with pytest.raises(Stopped):
            exploding(run)
        try:
            call(run)
        except Stopped as stopped:
            raised.append(stopped.verdict)

    result = run_of(stubborn).result()
    assert raised == [Verdict.DIVERGED] == [result.verdict]
    assert result.metric_curve == ()


def test_the_verdict_wins_over_another_error_that_follows_it():
    def breaks_afterwards(run: Run) -> None:
        try:
            exploding(run)
        except Stopped:
            raise KeyError("cleaning up failed") from None

    run = Run()
    with pytest.raises(KeyError), run:
        breaks_afterwards(run)
    assert run.result().verdict is Verdict.DIVERGED


@pytest.mark.parametrize("call", [lambda r: r.step(1.0), lambda r: r.report(0.5), Run.result])
def test_begin_must_come_first(call):
    with pytest.raises(ObjectiveError, match=r"never called run\.begin"):
        call(Run())


def test_a_run_of_no_steps_is_refused():
    with pytest.raises(ObjectiveError, match="total_steps=0, wanted at least 1"):
        Run().begin(0)


def test_a_loop_that_never_reports_is_told_so():
    run = run_of(lambda run: (run.begin(5), run.step(1.0)))
    with pytest.raises(ObjectiveError, match=r"without run\.report\(val_accuracy\)"):
        run.result()


@pytest.mark.parametrize(
    ("metric", "value"),
    [("val_accuracy", 95.0), ("val_accuracy", 1.01), ("val_accuracy", -0.1), ("val_r2", 1.01)],
)
def test_a_metric_out_of_range_is_refused(metric, value):
    wanted = f"{metric}={value:g}, wanted"
    with pytest.raises(ObjectiveError, match=wanted):
        run_of(epochs_of(value), metric=metric)


@pytest.mark.parametrize(
    ("metric", "value"),
    [("val_accuracy", 0.0), ("val_accuracy", 1.0), ("val_r2", 1.0), ("val_r2", -250.0)],
)
def test_a_metric_in_range_is_taken(metric, value):
    assert run_of(epochs_of(value), metric=metric).result().metric == value


@pytest.mark.parametrize("metric", ["val_accuracy", "val_r2"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_ends_the_run_and_its_curve(metric, value):
    result = run_of(epochs_of(0.5, value, 0.5), metric=metric).result()
    assert result.verdict is Verdict.NON_FINITE
    assert result.metric_curve == (0.5,)


def test_metrics_may_be_tensors():
    result = run_of(epochs_of(torch.tensor(0.5))).result()
    assert type(result.metric) is float


@pytest.mark.parametrize(
    ("target", "epochs"), [(0.1, 1), (0.5, 2), (0.51, 4), (0.9, None), (None, None)]
)
def test_epochs_to_target_is_the_first_epoch_that_reaches_it(target, epochs):
    run = run_of(epochs_of(0.2, 0.5, 0.4, 0.7), target=target)
    assert run.result().to_target == epochs


def test_the_generalization_gap_is_that_of_the_last_epoch():
    def loop(run: Run) -> None:
        run.begin(10)
        run.report(0.3, train_accuracy=0.9)
        run.report(0.7, train_accuracy=0.95)

    assert run_of(loop).result().generalization_gap == pytest.approx(0.25)
    assert run_of(epochs_of(0.5)).result().generalization_gap is None


def test_a_stop_rule_sees_the_growing_curve_and_ends_the_run():
    seen = []

    def rule(curve: tuple[float, ...]) -> Stopped | None:
        seen.append(curve)
        return Stopped(Verdict.STALLED, "enough") if len(curve) == 2 else None

    result = run_of(epochs_of(0.2, 0.3, 0.4), should_stop=rule).result()
    assert seen == [(0.2,), (0.2, 0.3)]
    assert (result.verdict, result.reason) == (Verdict.STALLED, "enough")
    assert result.metric == 0.3


def test_a_stopped_run_plans_the_time_of_its_whole_budget():
    result = run_of(exploding).result()
    assert result.planned_train_seconds > result.train_seconds > 0
    share = result.train_seconds / result.planned_train_seconds
    assert share == pytest.approx(result.steps / result.total_steps)


def test_a_finished_run_plans_what_it_took():
    result = run_of(epochs_of(0.5, 0.6)).result()
    assert result.planned_train_seconds == result.train_seconds


def test_a_nan_in_the_last_unfinished_window_is_found():
    def loop(run: Run) -> None:
        run.begin(15, baseline_loss=1.0)
        for n in range(15):
            run.step(math.nan if n == 13 else 0.5)
        run.report(0.5)

    assert run_of(loop).result().verdict is Verdict.NON_FINITE


def test_the_last_unfinished_window_is_too_short_to_judge_otherwise():
    result = run_of(epochs_of(0.5, steps=35, loss=50.0, total_steps=400)).result()
    assert result.verdict is Verdict.DIVERGED
    result = run_of(epochs_of(0.5, steps=25, loss=50.0, total_steps=400)).result()
    assert result.verdict is Verdict.COMPLETED


class Noted(torch.autograd.Function):
    """An operation whose graph node holds an object that we can watch."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, note: Any) -> torch.Tensor:
        ctx.note = note
        return x.sum()


def test_a_loss_with_a_graph_is_taken_without_it():
    class Note:
        pass

    run, note = Run(), Note()
    graph = weakref.ref(note)
    run.begin(100)
    run.step(Noted.apply(torch.ones(3, requires_grad=True), note))
    del note
    assert graph() is None


@pytest.mark.parametrize("learning_rate", [0.05, 1e38], ids=["completed", "stopped"])
def test_a_run_that_is_kept_keeps_no_model(learning_rate):
    """A model that waits for the garbage collector would count as memory before the next run."""
    models = []

    def model() -> torch.nn.Module:
        made = torch.nn.Linear(5, 3)
        models.append(weakref.ref(made))
        return made

    objective = ready(made_task(model=model))
    gc.collect()
    gc.disable()
    try:
        run = train(objective, learning_rate=learning_rate, epochs=10)
        assert (run.latched is None) == (learning_rate < 1)
        assert models[-1]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("limit", [None, TimeLimit(seconds=4.0, step_seconds=0.01)])
@pytest.mark.parametrize("level", [0.5, 30.0, math.nan])
def test_losses_told_together_are_judged_as_those_told_one_by_one(level, limit):
    losses = [1.0 + 0.001 * n if n < 60 else level for n in range(1000)]

    def one_by_one(run: Run) -> None:
        run.begin(1000, baseline_loss=1.2)
        for loss in losses:
            run.step(loss)
        run.report(0.5)

    def in_parts(run: Run) -> None:
        run.begin(1000, baseline_loss=1.2)
        for start, stop in ((0, 1), (1, 8), (8, 8), (8, 300), (300, 1000)):
            run.steps(losses[start:stop])
        run.report(0.5)

    expected, found = (run_of(loop, limit=limit).result() for loop in (one_by_one, in_parts))
    assert (found.verdict, found.reason) == (expected.verdict, expected.reason)
    assert (found.steps, found.metric) == (expected.steps, expected.metric)
    assert str(found.train_loss) == str(expected.train_loss)
    assert (found.verdict is Verdict.COMPLETED) == (level == 0.5 and limit is None)
