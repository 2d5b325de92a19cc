"""A whole `run` in this process: states, attributes, resume, refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path

import optuna
import pytest

from batchfront.study.cli.main import main
from batchfront.study.trials.attributes import CONSTRAINT, derive_seed, log2_batch_size_of

PLANTED = ("run", "--task", "planted.py", "--epochs", "4", "--sampler", "random")


def _load(name: str = "planted.py:objective") -> optuna.Study:
    return optuna.load_study(study_name=name, storage="sqlite:///runs/batchfront.db")


@pytest.fixture
def study(workdir, recorded) -> optuna.Study:
    """Twelve trials of the planted task."""
    recorded(workdir, *PLANTED, "--n-trials", "12", "--target", "0.52")
    return _load()


def test_a_study_names_its_objectives_in_order(study):
    assert study.metric_names == ["val_accuracy", "train_seconds", "peak_memory_bytes"]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]


def test_every_finished_trial_carries_the_one_constraint(study):
    for trial in study.trials:
        assert list(trial.constraints) == [CONSTRAINT]
        assert (trial.constraints[CONSTRAINT] > 0) == (trial.state.name == "PRUNED")


def test_lost_trials_are_pruned_with_evidence_and_no_intermediate_values(study):
    stopped = [t for t in study.trials if t.user_attrs["verdict"] in ("diverged", "stalled")]
    assert stopped
    for trial in stopped:
        attributes = trial.user_attrs
        assert trial.state.name == "PRUNED"
        assert "against 1 for the best constant predictor" in attributes["reason"]
        assert trial.constraints[CONSTRAINT] == (
            3.0 if attributes["verdict"] == "diverged" else 2.0
        )
        assert attributes["steps"] < attributes["total_steps"] == 400
        assert len(attributes["values_so_far"]) == 3
        assert trial.intermediate_values == {}
    assert not {t.number for t in stopped} & {t.number for t in study.best_trials}


def test_completed_trials_store_what_was_measured(study):
    trial = next(t for t in study.trials if t.state.name == "COMPLETE")
    attributes = trial.user_attrs
    assert attributes["metric_curve"][-1] == pytest.approx(trial.values[0], abs=1e-6)
    assert attributes["best_metric"] == max(trial.values[0], attributes["best_metric"])
    assert attributes["train_loss"] == pytest.approx(0.5)
    assert attributes["n_spikes"] == 0
    assert attributes["device"] == "cpu"
    assert attributes["seed"] == derive_seed(0, trial.number, purpose="trial")
    assert attributes["torch_version"]
    curve = attributes["metric_curve"]
    first = next((n for n, value in enumerate(curve, 1) if value >= 0.52), None)
    assert attributes.get("epochs_to_target") == first


def test_a_larger_total_adds_new_points_and_the_same_total_adds_none(study, rows, capsys):
    before = {t.number: t.params for t in study.trials}
    assert main([*PLANTED, "--n-trials", "12"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main([*PLANTED, "--n-trials", "15"]) == 0
    after = {t.number: t.params for t in _load().trials}
    assert after | before == after
    assert len(after) == 15
    assert len({tuple(p.items()) for p in after.values()}) == 15
    (row,) = rows("ls")
    assert (row["n_trials"], row["n_fail"], row["n_running"]) == (15, 0, 0)


def test_a_bare_rerun_takes_ranges_and_epochs_from_the_study(workdir):
    first = [*PLANTED, "--batch-sizes", "4:8", "--learning-rates", "0.01:0.02", "--seed", "7"]
    assert main([*first, "--n-trials", "2"]) == 0
    assert main(["run", "--task", "planted.py", "--n-trials", "4"]) == 0
    trials = _load().trials
    assert all(0.01 <= t.params["learning_rate"] <= 0.02 for t in trials)
    assert {t.user_attrs["epochs"] for t in trials} == {4}
    assert trials[3].user_attrs["seed"] == derive_seed(7, 3, purpose="trial")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--epochs", "5"], "epochs (4, now 5)"),
        (["--batch-sizes", "2:512"], "batch size 1..512 (powers of two)"),
        (["--learning-rates", "1e-3:3"], "learning rate 0.001..3"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_nothing_written(study, capsys, options, said):
    database = Path("runs/batchfront.db")
    before = _contents(study)
    assert main([*PLANTED[:3], *options, "--n-trials", "20"]) == 2
    assert said in _one_error(capsys)
    assert _contents(study) == before
    assert database.exists()


def test_another_task_under_the_same_name_is_refused(study, capsys, write_task):
    other = write_task("def objective(params, run): pass")
    assert main(["run", "--task", other, "--study-name", "planted.py:objective"]) == 2
    assert "other task (planted.py:objective, now mine.py:objective)" in _one_error(capsys)


TASK = """
    import torch
    from batchfront import Data, Task

    def data():
        x = torch.arange(40.0).reshape(20, 2) + {shift}
        y = torch.arange(20) % 2
        return Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)

    task = Task(
        name="mine", data=data, model=lambda: torch.nn.Linear(2, {classes}),
        loss=torch.nn.functional.cross_entropy, optimizer=torch.optim.{optimizer}, epochs=1,
    )
"""
GIVEN = {"shift": 0, "classes": 2, "optimizer": "SGD"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shift": 1}, "other data"),
        ({"optimizer": "Adam"}, "other optimizer (SGD(), now Adam())"),
        ({"classes": 3}, "other model"),
    ],
)
def test_other_data_optimizer_or_model_is_refused(write_task, capsys, change, said):
    name = write_task(TASK.format(**GIVEN))
    assert main(["run", "--task", name, "--n-trials", "1"]) == 0
    again = write_task(TASK.format(**(GIVEN | change)))
    _forget_modules()
    assert main(["run", "--task", again, "--n-trials", "2"]) == 2
    assert said in _one_error(capsys)


def test_other_objectives_are_refused(study, capsys):
    optuna.create_study(
        study_name="theirs", storage="sqlite:///runs/batchfront.db", direction="maximize"
    )
    assert main([*PLANTED, "--study-name", "theirs"]) == 2
    assert "was not made by batchfront" in _one_error(capsys)


def test_sizes_beyond_the_data_are_cut_and_that_is_said_once(write_task, capsys):
    name = write_task(TASK.format(**GIVEN))  # 20 examples
    assert main(["run", "--task", name, "--n-trials", "3"]) == 0
    assert "allow: 1..16" in capsys.readouterr().err
    assert main(["run", "--task", name, "--n-trials", "4"]) == 0
    assert "were cut" not in capsys.readouterr().err
    assert max(log2_batch_size_of(t.params) for t in _load("mine.py:task").trials) <= 4


def test_an_exception_fails_its_trial_and_the_study_goes_on(write_task, rows, dashboard_figures):
    name = write_task(
        """
        def objective(params, run):
            run.begin(1)
            if params.batch_size == 1:
                raise ValueError("batch norm wants more than one example")
            run.step(0.5)
            run.report(0.5)
        """
    )
    options = ["--batch-sizes", "1:4", "--sampler", "random", "--n-trials", "12"]
    assert main(["run", "--task", name, *options]) == 0
    (row,) = rows("ls")
    assert row["n_trials"] == 12
    failed = [r for r in rows("export") if r["state"] == "FAIL"]
    assert len(failed) == row["n_fail"] > 0
    assert {r["reason"] for r in failed} == {"ValueError: batch norm wants more than one example"}
    assert {r["batch_size"] for r in failed} == {1}


def test_three_failures_of_one_kind_in_a_row_stop_the_study(write_task, capsys, rows):
    name = write_task("def objective(params, run):\n    raise OSError(f'no data {params.seed}')")
    assert main(["run", "--task", name, "--n-trials", "30"]) == 1
    said = capsys.readouterr().err
    assert "3 trials in a row failed the same way" in said
    assert "no data" in said
    assert len(rows("export")) == 3


@pytest.mark.parametrize("swallow", ["Exception", "BaseException"])
def test_a_verdict_wins_over_a_loop_that_swallows_it(write_task, rows, swallow):
    name = write_task(
        f"""
        def objective(params, run):
            run.begin(100, baseline_loss=1.0)
            for _ in range(100):
                try:
                    run.step(float("nan"))
                except {swallow}:
                    break
            run.report(0.99)
        """
    )
    assert main(["run", "--task", name, "--n-trials", "2"]) == 0
    assert {(r["state"], r["verdict"]) for r in rows("export")} == {("PRUNED", "non_finite")}
    assert rows("front") == []


def test_a_timeout_starts_no_new_trial(workdir, rows, monkeypatch):
    monkeypatch.setenv("PLANTED_SECONDS", "0.1")
    argv = [*PLANTED, "--n-trials", "50", "--batch-sizes", "1:2", "--timeout", "1"]
    assert main(argv) == 0
    assert 1 <= rows("ls")[0]["n_trials"] < 10


def _contents(study: optuna.Study) -> str:
    study = optuna.load_study(study_name=study.study_name, storage="sqlite:///runs/batchfront.db")
    text = repr([study.user_attrs, study.trials])
    return hashlib.sha256(text.encode()).hexdigest()


def _one_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The error is one line, without a traceback."""
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert not any("Traceback" in line for line in lines)
    return errors[0]


def _forget_modules() -> None:
    import sys

    for name in [n for n in sys.modules if n == "mine" or n.startswith("batchfront_task_")]:
        del sys.modules[name]


def test_an_objective_may_stop_itself(write_task, rows):
    name = write_task(
        """
        from batchfront import Stopped, Verdict

        def objective(params, run):
            run.begin(100)
            for _ in range(50):
                run.step(0.5)
            run.report(0.9)
            raise Stopped(Verdict.DIVERGED, "my own rule")
        """
    )
    assert main(["run", "--task", name, "--n-trials", "2", "--batch-sizes", "8"]) == 0
    assert {(r["state"], r["reason"]) for r in rows("export")} == {("PRUNED", "my own rule")}
