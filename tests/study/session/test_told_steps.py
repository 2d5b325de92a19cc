"""Time is told of the steps that a run took, and shown so wherever costs are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from batchfront.objectives.measurement import Measurement, Phase, Verdict
from batchfront.objectives.probes.cost import probe
from batchfront.study.cli.main import main
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.plan.space import SearchSpace
from batchfront.study.pruning.curves import Curves
from batchfront.study.search.prices import Prices
from batchfront.study.trials.attributes import (
    CURVE,
    OWN_CLOCK,
    PHASES,
    UNPROBED,
)
from batchfront.study.trials.growing import first_steps
from batchfront.study.trials.hardware import COSTS, at_known_cost, known_hardware
from batchfront.study.trials.outcome import attributes_of, ended_early, share_taken, told_values
from batchfront.study.trials.rows import runs_of

from ..known import known_cost, known_costs

STORAGE = "sqlite:///runs/batchfront.db"

PATIENT = """
    def objective(params, run):
        '''Ends itself after 3 of 10 epochs, where it is not left to the run.'''
        run.begin(10 * params.epochs, baseline_loss=1.0)
        for epoch in range(params.epochs):
            for _ in range(10):
                run.step(0.5)
            run.report(0.5 + 0.1 * (epoch == 1), val_loss=1.0 / (1 + epoch))
            if epoch == 2 and {leaves}:
                return
"""


@pytest.fixture(autouse=True)
def _a_step_takes_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "batchfront.study.probes.prober.probe",
        lambda *args, **options: replace(probe(*args, **options), step_seconds=0.001, busy=1.0),
    )


def run(name: str, *more: str) -> int:
    argv = ["run", "--task", name, "--epochs", "10", "--batch-sizes", "8:16", "--sampler", "random"]
    return main([*argv, "--n-trials", "3", *more])


def study_of(name: str = "mine.py:objective") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=STORAGE)


def test_a_loop_that_ends_itself_is_told_the_steps_it_took(write_task, rows):
    assert run(write_task(PATIENT.format(leaves="True"))) == 0
    exported = rows("export")
    assert [(r["steps"], r["total_steps"]) for r in exported] == [(30, 100)] * 3
    assert [r["train_seconds"] for r in exported] == pytest.approx([0.030] * 3)
    assert [r["planned_train_seconds"] for r in exported] == pytest.approx([0.100] * 3)
    front = rows("front")
    assert [r["train_seconds"] for r in front] == pytest.approx([0.030] * len(front))


def test_a_size_that_was_probed_again_puts_no_announced_steps_back(write_task, rows):
    assert run(write_task(PATIENT.format(leaves="True"))) == 0
    study = study_of()
    (hardware,) = known_hardware(study)
    costs = [{**row, "step_seconds": 0.002} for row in study.user_attrs[COSTS + hardware]]
    study.set_user_attr(COSTS + hardware, costs)
    assert {round(r["train_seconds"], 6) for r in rows("front")} == {0.060}


@pytest.mark.parametrize("rule", ["1", "metric:1", "loss:1:0.6"])
def test_a_study_ends_runs_early_and_tells_the_best(write_task, rows, capsys, rule):
    name = write_task(PATIENT.format(leaves="False"))
    assert run(name, "--early-stopping", rule, "--report", "best", "--max-seconds", "0.05") == 0
    exported = rows("export")
    assert {r["steps"] for r in exported} == {30} if "loss" not in rule else {20, 30}
    assert {r["val_accuracy"] for r in exported} == {0.6}
    assert {r["state"] for r in exported} == {"COMPLETE"}, "0.1 s of announced steps break nothing"
    record = study_of().user_attrs[AGREEMENT]
    assert record["report"] == "best"
    assert record["early_stopping"]["patience"] == 1
    assert run(name, "--n-trials", "4") == 0, "a bare rerun keeps the rule"
    assert {r["steps"] for r in rows("export")} == {r["steps"] for r in exported}
    capsys.readouterr()
    assert run(name, "--early-stopping", "2") == 2
    assert "made with other early_stopping" in capsys.readouterr().err
    assert run(name, "--report", "last") == 2
    assert "made with other report" in capsys.readouterr().err


def test_a_study_that_was_made_without_takes_no_rule_later(write_task, rows, capsys):
    name = write_task(PATIENT.format(leaves="False"))
    assert run(name) == 0
    record = study_of().user_attrs[AGREEMENT]
    assert not {"early_stopping", "report"} & set(record)
    for older in (record["format"], 1):  # whatever else an older record does not know
        study_of().set_user_attr(AGREEMENT, {**record, "format": older})
        capsys.readouterr()
        assert run(name, "--early-stopping", "loss:2") == 2
        assert "other early_stopping (none, now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--early-stopping", "loss"), "early_stopping is 'loss', wanted epochs like 5 or loss:5"),
        (("--report", "first"), "report is 'first', wanted last or best"),
    ],
)
def test_a_rule_that_is_none_is_one_line(write_task, capsys, argv, said):
    assert run(write_task(PATIENT.format(leaves="False")), *argv) == 2
    assert said in capsys.readouterr().err


def test_a_tasks_own_rule_is_taken_where_nobody_says_otherwise(write_task, rows):
    own = """
    from batchfront import CustomLoop, EarlyStopping
    task = CustomLoop(function=objective, early_stopping=EarlyStopping(patience=1))
    """
    name = write_task(PATIENT.format(leaves="False") + own) + ":task"
    assert run(name) == 0
    assert {r["steps"] for r in rows("export")} == {30}
    assert run(name, "--study-name", "whole", "--early-stopping", "none") == 0
    assert {r["steps"] for r in rows("export", "--study-name", "whole")} == {100}


def measured(**changes: Any) -> Measurement:
    given: dict[str, Any] = {
        "verdict": Verdict.COMPLETED, "reason": "", "metric": 0.5, "best_metric": 0.5,
        "metric_curve": (0.5,), "train_seconds": 7.0, "process_seconds": 7.0,
        "planned_train_seconds": 70.0, "peak_memory_bytes": 1, "train_loss": 1.0,
        "test_metric": None, "generalization_gap": None, "to_target": None,
        "n_spikes": 0, "steps": 10, "total_steps": 100,
    }  # fmt: skip
    return Measurement(**{**given, **changes})


def test_what_is_told_of_a_completed_a_stopped_and_an_unreported_run():
    known = known_cost(8, 0.001)
    stopped = {"verdict": Verdict.DIVERGED}
    missing = {"missing_steps": "some"}
    assert told_values(measured(), known)[1] == pytest.approx(0.01)
    assert told_values(measured(**stopped), known)[1] == pytest.approx(0.1)
    assert told_values(measured(**missing), known)[1:] == (7.0, 8000)
    assert told_values(measured(**missing, **stopped), known)[1] == 70.0
    assert attributes_of(measured(**missing), known)[OWN_CLOCK]
    assert attributes_of(measured(), known)[OWN_CLOCK] is None


def trial_of(curve: list[float], *, size: int = 8, epochs: int = 10, **attributes: Any) -> Any:
    told = {CURVE: curve, "epochs": epochs, "total_steps": 100, **attributes}
    return create_trial(
        state=TrialState.COMPLETE,
        values=[curve[-1], 3.0, 5.0],
        params={"batch_size": size, "learning_rate": 0.1},
        distributions=SearchSpace().distributions(),
        user_attrs=told,
    )


def test_a_trial_is_shown_at_the_cost_of_its_steps_unless_it_timed_itself():
    costs = known_costs(8, 16)
    known = costs[8].step_seconds
    early = [0.5] * 3
    for trial, seconds in (
        (trial_of(early, steps=30), 30 * known),
        (trial_of([0.5] * 10, steps=100), 100 * known),
        (trial_of([0.5] * 10), 100 * known),  # imported, or of a version that stored no steps
        (trial_of([0.5] * 10, steps=10, **{OWN_CLOCK: True}), 3.0),
        (trial_of(early, steps=30, **{UNPROBED: True}), 3.0),
    ):
        assert at_known_cost(trial, costs).values[1] == pytest.approx(seconds)
    clocked = at_known_cost(trial_of(early, **{OWN_CLOCK: True}), costs)
    assert clocked.values[2] == costs[8].peak_memory_bytes


def test_of_a_run_that_grew_the_phases_count_that_it_came_to():
    phases = (Phase(8, 2, 40), Phase(16, 2, 20))
    assert first_steps(phases, 20) == (Phase(8, 1, 20),)
    assert first_steps(phases, 50) == (Phase(8, 2, 40), Phase(16, 1, 10))
    assert first_steps(phases, 60) == phases
    assert first_steps((), 60) == ()
    costs = {8: known_cost(8, 0.001), 16: known_cost(16, 0.004)}
    grown = trial_of([0.5], steps=20, **{PHASES: [list(phase) for phase in phases]})
    _, seconds, memory = at_known_cost(grown, costs).values
    assert (seconds, memory) == (pytest.approx(0.020), costs[8].peak_memory_bytes)
    further = trial_of([0.5], steps=50, **{PHASES: [list(phase) for phase in phases]})
    assert at_known_cost(further, costs).values[1] == pytest.approx(0.040 + 0.040)


def test_only_a_run_that_reported_fewer_epochs_and_steps_ended_early():
    assert ended_early(trial_of([0.5] * 3, steps=30))
    assert share_taken(trial_of([0.5] * 3, steps=30)) == 0.3
    whole = [
        trial_of([0.5] * 10, steps=100),
        trial_of([0.5] * 10, steps=95),  # announced too many: batches were dropped
        trial_of([0.5] * 10, steps=10, **{OWN_CLOCK: True}),
        trial_of([0.5] * 3),
    ]
    assert [ended_early(trial) for trial in whole] == [False] * 4
    assert {share_taken(trial) for trial in whole} == {1.0}


def test_the_curve_of_a_run_that_ended_early_goes_on_at_what_it_was_told():
    short, whole = trial_of([0.1, 0.4, 0.3], steps=30), trial_of([0.05 * n for n in range(10)])
    history = Curves({}, [short, whole]).history()
    assert history is not None
    assert history.curves.shape == (2, 10)
    assert list(history.curves[0]) == [0.1, 0.4] + [0.3] * 8


def test_the_search_expects_of_a_size_the_share_that_its_runs_took():
    prices = Prices(known_costs(8, 16, 32, 64, 128), probed=[0.0, 0.0])
    x = np.array([[3.0, 0.0], [7.0, 0.0]])
    whole = prices.of(x).copy()
    prices.learn_shares(np.array([3.0, 3.0]), np.array([1.0, 1.0]))
    assert (prices.of(x) == whole).all()
    prices.learn_shares(np.array([3.0, 3.0, 7.0]), np.array([0.1, 0.3, 1.0]))
    found = prices.of(x)
    assert found[:, 0] / whole[:, 0] == pytest.approx([0.2, 1.0], rel=0.02)
    assert (found[:, 1] == whole[:, 1]).all()


def test_an_epoch_of_a_run_that_ended_early_takes_what_its_own_epochs_took():
    names = ["val_accuracy", "train_seconds", "peak_memory_bytes"]
    (row,) = runs_of([trial_of([0.5, 0.6, 0.6], steps=30)], names)
    assert row.epoch_seconds == pytest.approx(3.0 / 3)
    assert row.steps == 30
