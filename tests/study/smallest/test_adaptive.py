"""The answer for real digits; its sensitivity includes a batch that grows with the noise."""

from __future__ import annotations

import json

import pytest

from batchfront.study.cli.main import main
from batchfront.study.smallest.sensitivity import N_SEEDS
from batchfront.study.trials.front import pareto_front
from batchfront.study.trials.rows import runs_of
from tests.study.conftest import study_of

pytestmark = pytest.mark.usefixtures("journal")

SMALLEST = [
    "smallest",
    "--target",
    "0.8",
    "--seeds",
    "2",
    "--batch-sizes",
    "32:64",
    "--epochs",
    "3",
]
RATES = ["--learning-rates", "0.02:0.5"]


@pytest.mark.slow
def test_five_more_runs_of_the_answer_follow_the_noise_scale_and_count_for_nothing_else(
    workdir, capsys
):
    assert main([*SMALLEST, *RATES, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answer"] == 32
    assert all(row["steps_to_target"] > 0 for row in found["ladder"])
    assert 0.7 < min(found["test"]) <= max(found["test"]) <= 1
    study = study_of("digits")
    runs = [t for t in study.trials if t.user_attrs.get("schedule") == "noise-scale"]
    assert len(runs) == N_SEEDS
    assert {t.user_attrs["purpose"] for t in runs} == {"adaptive"}
    assert {t.params["batch_size"] for t in runs} == {found["answer"]}
    adaptive = found["adaptive"]
    assert (adaptive["batch_size"], adaptive["n_seeds"]) == (found["answer"], N_SEEDS)
    assert len(adaptive["last_batch_sizes"]) == N_SEEDS
    metrics = [t.values[0] for t in runs if t.values]
    assert adaptive["mean_metric"] == pytest.approx(sum(metrics) / len(metrics))
    assert adaptive["n_reached"] == sum(metric >= 0.8 for metric in metrics)
    numbers = {t.number for t in runs}
    assert not numbers & {t.number for t in pareto_front(study.trials)}
    assert not numbers & {row.number for row in runs_of(study.trials, study.metric_names or [])}
    n_before = len(study.trials)
    assert main([*SMALLEST, *RATES]) == 0  # nothing is run twice
    assert "growing to" in capsys.readouterr().out
    study = study_of("digits")
    assert len(study.trials) == n_before


def test_a_study_whose_batches_grow_walks_the_sizes_they_start_with(workdir, capsys):
    given = [*SMALLEST, *RATES, "--schedule", "noise-scale", "--max-trials", "2"]
    assert main(given) == 0
    assert "batch sizes are those that runs start with" in capsys.readouterr().err
