"""A metric with a name, a direction and a bound, and what a loop may say of it."""

from __future__ import annotations

import math

import pytest

from batchfront.objectives.measurement import ObjectiveError, TrialParams, Verdict
from batchfront.objectives.meters.early_stopping import LAST_EPOCH, EarlyStopping, Ending
from batchfront.objectives.metric import AskedMetric, Metric, as_metric
from batchfront.objectives.run import Run, carry_out

LOSS = Metric("val_loss", direction="minimize")
PARAMS = TrialParams(batch_size=8, learning_rate=0.1, epochs=4, seed=0, device="cpu")


def ran(metric, *reports, ending=LAST_EPOCH, target=None, chance=None):
    run = Run(metric=metric, measure_memory=False, ending=ending, target=target)

    def objective(params, run):
        run.begin(len(reports), baseline_metric=chance)
        for values in reports:
            run.step(1.0)
            run.report(**values)

    carry_out(objective, PARAMS, run)
    return run.result()


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (Metric(""), "metric is named ''"),
        (Metric("val loss"), "metric is named 'val loss'"),
        (Metric("train_seconds"), "which is another objective"),
        (Metric("f", direction="up"), "direction 'up', wanted maximize or minimize"),
        (Metric("f", bound=math.nan), "bound nan, wanted a number"),
        (Metric("f", bound=1, chance=1), "to bound 1: wanted these in that order"),
        (Metric("f", direction="minimize", bound=1, chance=0.5), "wanted these in that order"),
        (Metric("f", bound=1, worst=0.5, chance=0.2), "wanted these in that order"),
    ],
)
def test_a_metric_that_nothing_can_be_judged_by_is_refused(metric, said):
    with pytest.raises(ObjectiveError, match=said):
        as_metric(metric)


def test_a_function_says_by_itself_which_way_is_better():
    class Smaller:
        higher_is_better = False

    assert not Metric("val_mae", Smaller()).maximize
    assert Metric("val_mae", Smaller(), direction="maximize").maximize
    assert Metric("val_mae").maximize


@pytest.mark.parametrize(
    ("metric", "value", "wanted"),
    [
        ("accuracy", 95.0, "a fraction between 0 and 1"),
        ("accuracy", -0.1, "a fraction between 0 and 1"),
        ("r2", 1.5, "at most 1"),
        ("perplexity", 0.5, "at least 1"),
        (Metric("acc_percent", bound=100, worst=0), 100.5, "between 0 and 100"),
    ],
)
def test_a_value_beyond_what_can_be_is_refused(metric, value, wanted):
    name = as_metric(metric).name
    with pytest.raises(ObjectiveError, match=f"got {name}={value:g}, wanted {wanted}"):
        ran(metric, {name: value})


def test_a_metric_is_told_under_its_name_and_others_beside_it():
    measured = ran(
        LOSS,
        {"val_loss": 2.0, "val_f1": 0.4, "train_loss": 1.5},
        {"val_loss": 1.0, "train_loss": 0.25},
    )
    assert (measured.metric, measured.metric_curve) == (1.0, (2.0, 1.0))
    assert measured.also_curves["val_f1"] == (0.4, None)
    assert measured.also == {}, "of the last epoch nobody has said any"
    assert measured.generalization_gap == 0.75, "the loss is better in training"


def test_the_best_of_what_is_minimized_is_the_least():
    reports = [{"val_loss": v, "val_f1": v / 10} for v in (2.0, 0.5, 0.7)]
    measured = ran(LOSS, *reports, ending=Ending(report="best"), target=0.8)
    assert measured.metric == measured.best_metric == 0.5
    assert measured.also == {"val_f1": 0.05}
    assert measured.to_target == 2


def test_early_stopping_knows_the_direction():
    rule = Ending(early_stopping=EarlyStopping(patience=2))
    values = (2.0, 1.0, 1.1, 1.2, 0.1)
    assert ran(LOSS, *({"val_loss": v} for v in values), ending=rule).metric == 1.2
    ups = [{"val_r2": -v} for v in values]
    assert ran("r2", *ups, ending=rule).metric == -1.2


def test_a_report_without_the_metric_names_what_it_had():
    with pytest.raises(ObjectiveError, match=r"run\.report got val_f1 alone, wanted val_loss too"):
        ran(LOSS, {"val_f1": 0.5})
    with pytest.raises(ObjectiveError, match=r"run\.report got val_loss='low', wanted a number"):
        ran(LOSS, {"val_loss": "low"})


def test_a_loss_that_is_no_number_ends_the_run():
    assert ran(LOSS, {"val_loss": math.nan}).verdict is Verdict.NON_FINITE


def test_what_somebody_asks_for_stands_in_place_of_what_is_declared():
    asked = AskedMetric(name="val_loss", direction="minimize")
    assert as_metric(asked.of("val_accuracy")) == as_metric("loss")
    usual = AskedMetric(usual=LOSS)
    assert usual.of(None) is LOSS
    assert usual.of("val_f1") == "val_f1", "what a loop declares counts more than the study's"
    other_way = as_metric(AskedMetric(direction="minimize").of("accuracy"))
    assert (other_way.direction, other_way.bound) == ("minimize", None)


def test_a_bound_makes_a_shortfall_and_nothing_else_does():
    percent = Metric("acc", bound=100)
    assert percent.shortfall(55.0, chance=10.0) == 0.5
    assert Metric("mae", direction="minimize", bound=0).shortfall(3.0, chance=4.0) == 0.75
    assert LOSS.shortfall(1.0, chance=2.0) is None
