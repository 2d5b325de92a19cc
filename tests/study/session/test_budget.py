"""`--budget 20m`: a search that plans for the training time it has."""

from __future__ import annotations

import re

import pytest

from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.trials.attributes import batch_size_of
from batchfront.study.trials.sound import sound_trials

from ..tables import CURVES, STORAGE

TABLE = ["run", "--task", str(CURVES)]
SECONDS = {8: 0.867, 32: 0.243, 128: 0.0893}  # of a run


def _trials():
    return sound_trials(the_study(STORAGE, None))


def _spent() -> float:
    return sum(trial.user_attrs["measured_seconds"] for trial in _trials())


def test_a_budget_is_spent_and_no_more_on_sizes_that_it_affords(workdir, capsys):
    assert main([*TABLE, "--budget", "0.85s"]) == 0
    said = capsys.readouterr().err
    assert 0.85 - SECONDS[128] < _spent() <= 0.85
    assert {batch_size_of(trial.params) for trial in _trials()} <= {32, 128}
    assert re.search(
        r"^budget 0.85 s of training: batch sizes 32, 128, about \d+ runs; a run takes 89.3 ms at "
        r"batch size 128, 0.243 s at 32; too dear: 8$",
        said,
        re.MULTILINE,
    )
    assert re.search(rf"ended after {len(_trials())} trials: 0\.\d+ s of 0.85 s are spent", said)


def test_a_larger_budget_goes_on_and_says_what_is_spent(workdir, capsys):
    assert main([*TABLE, "--budget", "0.5s"]) == 0
    before = _spent()
    assert main([*TABLE, "--budget", "0.5s"]) == 0
    assert _spent() == before
    capsys.readouterr()
    assert main([*TABLE, "--budget", "2s"]) == 0
    assert before < _spent() <= 2.0
    assert "s of it spent: batch sizes" in capsys.readouterr().err


def test_afterwards_it_says_what_twice_the_budget_would_buy(workdir, capsys, monkeypatch):
    monkeypatch.setattr("batchfront.study.session.ending.LEAST_TRIALS", 5)
    assert main([*TABLE, "--budget", "0.86s"]) == 0
    said = capsys.readouterr().err
    (line,) = re.findall("^twice the budget is expected to raise val_accuracy .*$", said, re.M)
    assert line.endswith("and to afford a run at batch size 8")
    assert f"--task {CURVES} --budget 1.72s" in said


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_samplers_that_know_no_costs_are_kept_within_it(workdir, sampler):
    assert main([*TABLE, "--budget", "0.8s", "--sampler", sampler]) == 0
    trials = _trials()
    assert {batch_size_of(trial.params) for trial in trials} <= {32, 128}
    assert _spent() <= 0.8
    assert len({trial.params["learning_rate"] for trial in trials}) > 2


def test_a_number_of_trials_ends_it_too(workdir):
    assert main([*TABLE, "--budget", "1h", "--n-trials", "3"]) == 0
    assert len(_trials()) == 3


def test_a_budget_of_everything_counts_probes(workdir, capsys):
    study = ["run", "--epochs", "1", "--batch-sizes", "64:128"]
    assert main([*study, "--budget-total", "0.001s"]) == 2
    assert "the shortest run takes" in capsys.readouterr().err


def test_what_is_too_small_for_any_run_is_refused_with_what_would_do(workdir, capsys):
    assert main([*TABLE, "--budget", "0.08s"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        "error: the budget is 80 ms, and the shortest run takes 89.3 ms, at batch size 128: give "
        "at least 1s"
    )


@pytest.mark.parametrize("bad", ["20 minutes", "0s", "-5m", "1:30", "m", "1e400h", "nan"])
def test_what_is_no_duration_is_refused_in_one_line(workdir, capsys, bad):
    assert main([*TABLE, f"--budget={bad}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("is no budget, wanted a duration like 90s, 20m or 1.5h")


def test_two_budgets_are_refused(workdir, capsys):
    assert main([*TABLE, "--budget", "1h", "--budget-total", "2h"]) == 2
    assert "give one" in capsys.readouterr().err
