"""A search in which nothing completed says why, and what would help."""

from __future__ import annotations

import pytest

from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.workers.telling import UNDEFINED_RUNS

LOOP = """
    import math

    def objective(params, run):
        run.begin(60, baseline_loss=1.0, baseline_metric=0.5)
        for _ in range(60):
            run.step({loss})
        run.report({metric})
"""
RUN = ["run", "--task", "mine.py", "--batch-sizes", "8:64", "--epochs", "1", "--pruner", "none"]


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("math.inf", "at the lowest rate, 0.0"),
        ("math.inf", "too: lower --learning-rates, or scale inputs and targets"),
        ("math.inf if params.learning_rate > 1e-3 else 2.0", "ended otherwise: narrow"),
        ("2.0", "of the best constant predictor: more --epochs, or larger --learning-rates, might"),
    ],
)
def test_the_most_frequent_reason_is_said_with_its_remedy(write_task, capsys, loss, said):
    write_task(LOOP.format(loss=loss, metric=0.5))
    assert main([*RUN, "--n-trials", "12"]) == 0
    (line,) = (s for s in capsys.readouterr().err.splitlines() if s.startswith("nothing comp"))
    assert said in line


def test_more_trials_are_not_recommended_then(write_task, capsys):
    write_task(LOOP.format(loss=2.0, metric=0.5))
    assert main([*RUN, "--n-trials", "6"]) == 0
    (line,) = (s for s in capsys.readouterr().err.splitlines() if s.startswith("next: "))
    assert "--n-trials" not in line


def test_runs_beyond_a_limit_ask_for_a_looser_one(write_task, capsys):
    write_task(LOOP.format(loss=0.5, metric=0.6))
    assert main([*RUN, "--n-trials", "6", "--min-metric", "0.9"]) == 0
    assert "6 of 6 runs broke a limit" in capsys.readouterr().err


def test_a_metric_that_is_never_a_number_ends_the_search(write_task, capsys):
    write_task(LOOP.format(loss=0.5, metric="math.nan"))
    assert main([*RUN, "--n-trials", "30"]) == 1
    said = capsys.readouterr().err
    assert f"error: in all {UNDEFINED_RUNS} runs of the study the validation metric became" in said
    assert "in a probe, at a training loss of 0.5: look at how it is computed" in said
    assert f"{UNDEFINED_RUNS} of {UNDEFINED_RUNS} runs ended since the metric val_accuracy" in said
    assert main([*RUN, "--n-trials", "12"]) == 0, "the same command goes on"


def test_a_search_in_which_a_run_has_a_metric_goes_on(write_task, capsys):
    metric = "0.6 if params.batch_size == 8 else math.nan"
    write_task(LOOP.format(loss=0.5, metric=metric))
    options = ["--n-trials", "12", "--sampler", "grid", "--batch-sizes", "8:16"]
    assert main([*RUN, *options]) == 0
    assert "nothing completed" not in capsys.readouterr().err


def test_the_runs_of_all_workers_count(write_task, capsys):
    write_task(LOOP.format(loss=0.5, metric="math.nan"))
    assert main([*RUN, "--n-trials", "40", "--n-workers", "2"]) == 1
    assert "runs of the study the validation metric became nan" in capsys.readouterr().err
    study = the_study("sqlite:///runs/batchfront.db", None)
    n_ended = sum(trial.state.is_finished() for trial in study.trials)
    assert UNDEFINED_RUNS <= n_ended < UNDEFINED_RUNS + 5, "each worker has had about half of them"


def test_a_study_that_has_had_a_metric_goes_on(write_task, capsys):
    write_task(LOOP.format(loss=0.5, metric="0.6 if params.seed % 2 else math.nan"))
    assert main([*RUN, "--n-trials", "8"]) == 0
    write_task(LOOP.format(loss=0.5, metric="math.nan"))
    assert main([*RUN, "--n-trials", "20", "--accept-change"]) == 0
