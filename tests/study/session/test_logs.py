"""Each trial that has ended is told to files, to TensorBoard and to functions."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import batchfront as bf
from batchfront.study.cli.main import main
from batchfront.study.errors import StudyError
from batchfront.study.opening.open import the_study

RUN = ("run", "--task", "planted.py", "--epochs", "2", "--sampler", "random", "--n-trials")
LOGS = Path("runs", "logs", "planted.py_objective")


def _rows(file: str) -> list[dict[str, str]]:
    return list(csv.DictReader((LOGS / file).open()))


def test_files_hold_what_the_trials_hold(workdir):
    assert main([*RUN, "4", "--log", "csv"]) == 0
    assert main([*RUN, "6", "--log", "csv"]) == 0
    trials = the_study("sqlite:///runs/batchfront.db", None).trials
    rows = _rows("trials.csv")
    assert [int(row["number"]) for row in rows] == list(range(6))
    for row, trial in zip(rows, trials, strict=True):
        assert int(row["batch_size"]) == trial.params["batch_size"]
        assert row["verdict"] == trial.user_attrs["verdict"]
        if trial.values:
            assert float(row["val_accuracy"]) == trial.values[0]
    curves = [float(row["val_accuracy"]) for row in _rows("curves.csv")]
    assert curves == [v for t in trials for v in t.user_attrs.get("metric_curve", [])]


@pytest.mark.slow
def test_tensorboard_reads_curves_and_hparams(workdir):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main([*RUN, "3", "--log", "tensorboard"]) == 0
    for trial in the_study("sqlite:///runs/batchfront.db", None).trials:
        folder = LOGS / f"trial-{trial.number:04d}"
        read = EventAccumulator(str(folder)).Reload()
        curve = trial.user_attrs.get("metric_curve", [])
        told = [event.value for event in read.Scalars("val_accuracy")] if curve else []
        assert told == pytest.approx(curve)
        assert "_hparams_/session_start_info" in read.summary_metadata


def test_a_log_that_fails_costs_no_trial_and_is_said_once(workdir):
    seen = []

    def broken(study, trial):
        seen.append((trial.number, trial.state.name, study.study_name))
        raise OSError("disk full")

    told = []
    study = bf.Study(
        "planted.py", epochs=2, n_trials=3, sampler="random",
        callbacks=[broken, lambda study, trial: told.append(trial.number)],
    )  # fmt: skip
    with pytest.warns(UserWarning, match="broken failed on trial 0: OSError.'disk full'") as said:
        study.run()
    assert len([one for one in said if "broken" in str(one.message)]) == 1
    assert [number for number, *_ in seen] == told == [0, 1, 2]
    assert {state for _, state, _ in seen} <= {"COMPLETE", "PRUNED"}
    assert len(study.optuna.trials) == 3


def test_what_cannot_be_logged_is_refused_before_anything_is_made(workdir, monkeypatch):
    with pytest.raises(StudyError, match="unknown log 'tensorbord': did you mean 'tensorboard'"):
        bf.Study("planted.py", log="tensorbord")
    monkeypatch.setattr("batchfront.study.session.logs.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"pip install 'batchfront\[tensorboard\]'"):
        bf.Study("planted.py", log="tensorboard").run()
    with pytest.raises(StudyError, match="not for Ray"):
        bf.Study("planted.py", log="csv", launcher="ray")
    assert not Path("runs").exists()
