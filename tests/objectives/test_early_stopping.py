"""A run that gets no better ends, completed, and tells its last or its best epoch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.measurement import ObjectiveError, TrialParams, Verdict
from batchfront.objectives.meters.early_stopping import EarlyStopping, Ending
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.training.checks import check_task
from tests.objectives.conftest import made_task, ready, run_of

THREE = EarlyStopping(patience=3)


def reporting(*metrics: float, losses: tuple[float, ...] = ()) -> Any:
    """A loop of one step an epoch, which reports these."""

    def loop(run: Run) -> None:
        run.begin(len(metrics))
        for n, metric in enumerate(metrics):
            run.step(1.0)
            more = {"val_loss": losses[n]} if losses else {}
            run.report(metric, train_accuracy=metric / 2, **more)
        raise AssertionError("it went on")

    return loop


def test_a_run_ends_completed_after_so_many_epochs_without_a_better_metric():
    run = run_of(reporting(0.1, 0.5, 0.4, 0.5, 0.2, 0.9), ending=Ending(early_stopping=THREE))
    result = run.result()
    assert (result.verdict, result.metric_curve) == (Verdict.COMPLETED, (0.1, 0.5, 0.4, 0.5, 0.2))
    assert (result.metric, result.steps, result.total_steps) == (0.2, 5, 6)
    assert "early stopping: validation metric no better for 3 epochs" in result.reason
    assert run.share_done == 1


def test_the_best_epoch_is_told_with_its_own_gap_where_that_is_asked_for():
    ending = Ending(early_stopping=THREE, report="best")
    result = run_of(reporting(0.1, 0.5, 0.4, 0.5, 0.2, 0.9), ending=ending).result()
    assert (result.metric, result.generalization_gap) == (0.5, -0.25)


def test_the_validation_loss_decides_by_more_than_the_smallest_difference():
    rule = EarlyStopping(patience=2, on="loss", min_delta=0.1)
    loop = reporting(*[0.1] * 9, losses=(5.0, 4.0, 3.95, 3.8, 3.75, 3.74, 1, 1, 1))
    assert len(run_of(loop, ending=Ending(early_stopping=rule)).result().metric_curve) == 6


def test_a_loop_that_does_not_tell_the_loss_is_told_how():
    rule = EarlyStopping(patience=2, on="loss")
    with pytest.raises(ObjectiveError, match=r"run\.report\(metric, val_loss=\.\.\.\)"):
        run_of(reporting(0.1), ending=Ending(early_stopping=rule))


def test_a_stop_rule_is_not_obeyed_where_the_run_has_just_ended_and_later_steps_are_refused():
    run = Run(ending=Ending(early_stopping=EarlyStopping(patience=1)))
    seen = []
    run.should_stop = lambda curve: seen.append(run.share_done)
    run.begin(10)
    run.step(1.0)
    run.report(0.5)
    for _ in range(2):  # also for a loop that swallows it
        with pytest.raises(Exception, match="early stopping"):
            run.report(0.4)
    assert seen == [0.1, 1.0]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("5", EarlyStopping(patience=5)),
        ("metric:5", EarlyStopping(patience=5)),
        ("loss:3", EarlyStopping(patience=3, on="loss")),
        ("loss:3:1e-4", EarlyStopping(patience=3, on="loss", min_delta=1e-4)),
        ("none", None),
    ],
)
def test_a_rule_is_read_and_kept(text, rule):
    assert EarlyStopping.parse(text) == rule
    assert EarlyStopping.from_dict(rule and rule.as_dict()) == rule


@pytest.mark.parametrize("text", ["", "0", "-1", "loss", "accuracy:3", "loss:3:x", "3:"])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(ObjectiveError, match="early_stopping"):
        EarlyStopping.parse(text)


@pytest.mark.parametrize(
    "wrong", [{"early_stopping": EarlyStopping(patience=0)}, {"report": "first"}]
)
def test_a_task_with_an_impossible_ending_is_refused(wrong):
    with pytest.raises(ObjectiveError, match="wanted"):
        check_task(made_task(**wrong))


def trained(ending: Ending, *, keep: Any = None, kept: Any = None, **task: Any) -> Run:
    """One training of the made task with diagnostics and a score on the test split."""
    objective = ready(made_task(**task))
    params = TrialParams(
        batch_size=16, learning_rate=0.3, epochs=40, seed=1, device="cpu", score_test=True,
        diagnostics=("distance",),
    )  # fmt: skip
    run = Run(ending=ending, measure_memory=False)
    run.keep = keep
    if kept is not None:
        run.restore(kept)
    carry_out(objective, params, run)
    return run


@pytest.mark.parametrize("on", ["metric", "loss"])
@pytest.mark.parametrize("report", ["last", "best"])
def test_our_loop_ends_early_with_everything_that_is_asked_of_a_completed_run(on, report):
    rule = EarlyStopping(patience=3, on=on)
    result = trained(Ending(early_stopping=rule, report=report)).result()
    assert len(result.metric_curve) < 40
    assert result.steps == len(result.metric_curve) * result.total_steps // 40  # exact batches
    told = result.metric_curve[-1] if report == "last" else max(result.metric_curve)
    assert result.metric == told
    assert result.test_metric is not None
    assert result.generalization_gap is not None
    assert result.distance_from_init > 0
    if on == "metric":
        assert max(result.metric_curve[:-3]) >= max(result.metric_curve[-3:])


def test_the_validation_loss_is_that_of_the_whole_split():
    seen: list[float] = []

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        value = nn.functional.cross_entropy(output, y)
        if not torch.is_grad_enabled():
            seen.append(float(value))
        return value

    rule = EarlyStopping(patience=2, on="loss")
    curve = trained(Ending(early_stopping=rule), loss=loss).curve
    own = seen[-len(curve) :]  # after what is asked of a task when it is loaded
    assert [rule.ends(own[:n], maximize=False) for n in range(1, len(own) + 1)] == [False] * (
        len(own) - 1
    ) + [True]


def test_a_resumed_run_remembers_its_losses():
    rule = EarlyStopping(patience=4, on="loss")
    states: list[dict[str, Any]] = []

    def keep(state: dict[str, Any]) -> None:
        states.append(copy.deepcopy(state))

    whole = trained(Ending(early_stopping=rule), keep=keep)
    resumed = trained(Ending(early_stopping=rule), kept=states[-1])
    assert len(states) == len(whole.curve) - 1
    assert resumed.curve == whole.curve
