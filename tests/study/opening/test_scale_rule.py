"""Searching a base rate at a reference batch size."""

from __future__ import annotations

import optuna
import pytest

from batchfront.study.cli.main import main
from batchfront.study.plan.space import Scale, SearchSpace
from batchfront.study.smallest.agenda import Agenda
from batchfront.study.smallest.question import SEEDS, Question
from batchfront.study.smallest.size import Asked
from batchfront.study.trials.rows import runs_of
from batchfront.study.trials.yardstick import Objectives

from ..conftest import study_of

pytestmark = pytest.mark.usefixtures("journal")
RUN = ["run", "--task", "planted.py", "--epochs", "3", "--batch-sizes", "4:64"]


@pytest.mark.parametrize(("rule", "power"), [("none", 0.0), ("linear", 1.0), ("sqrt", 0.5)])
def test_the_rate_is_the_base_rate_times_a_power_of_the_batch_size(rule, power):
    space = SearchSpace(scale=Scale(rule=rule, reference=32))
    params = {"batch_size": 8, "learning_rate": 0.2}
    assert space.rate(params) == pytest.approx(0.2 * (8 / 32) ** power, rel=1e-15)
    assert SearchSpace.from_dict(space.as_dict()) == (space if rule != "none" else SearchSpace())


def test_trials_train_at_the_scaled_rate_and_say_so(workdir, rows, capsys):
    given = ["--study-name", "s", "--scale-rule", "linear", "--scale-reference", "16"]
    assert main([*RUN, *given, "--n-trials", "4"]) == 0
    assert "base learning rate" in capsys.readouterr().err
    assert main(["run", "--task", "planted.py", "--study-name", "s", "--n-trials", "6"]) == 0
    trials = study_of("s").trials
    assert len(trials) == 6
    for trial in trials:
        size = trial.params["batch_size"]
        used = trial.params["learning_rate"] * size / 16
        assert trial.user_attrs["scaled_learning_rate"] == pytest.approx(used)
        # As planted: a run is lost above 0.1 sqrt(B), whatever its base rate is.
        lost = trial.user_attrs["verdict"] in ("diverged", "stalled")
        assert lost is (used > 0.1 * size**0.5)
    for row, trial in zip(rows("export", "--study-name", "s"), trials, strict=True):
        assert row["learning_rate"] == trial.user_attrs["scaled_learning_rate"]
        assert row["base_learning_rate"] == trial.params["learning_rate"]
    for row, trial in zip(runs_of(trials, study_of("s").metric_names or []), trials, strict=True):
        assert row.learning_rate == trial.user_attrs["scaled_learning_rate"]


def test_another_rule_is_refused(workdir, capsys):
    assert main([*RUN, "--study-name", "s", "--scale-rule", "sqrt", "--n-trials", "1"]) == 0
    assert main([*RUN, "--study-name", "s", "--scale-rule", "linear"]) == 2
    assert "times (batch size / 64)^0.5" in capsys.readouterr().err
    assert main([*RUN, "--study-name", "t", "--scale-reference", "8"]) == 2
    assert "give --scale-rule too" in capsys.readouterr().err
    assert main([*RUN, "--scale-rule", "cubic"]) == 2
    assert "choose from none, linear, sqrt" in capsys.readouterr().err


def test_seeds_of_one_rate_share_it_to_the_bit():
    """0.1 / sqrt(8/64) * sqrt(8/64) is not 0.1: what was asked for goes along."""
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    question = Question(target=0.9, sizes=(8, 64), learning_rates=(1e-3, 1.0))
    names = Objectives(("val_accuracy", "train_seconds", "peak_memory_bytes"))
    agenda = Agenda(
        question=question, metric_names=names, space=SearchSpace(scale=Scale(rule="sqrt"))
    )
    rates = [0.1, 0.03, 0.007]
    for rate in rates:
        asked = Asked(batch_size=8, learning_rate=rate, purpose=SEEDS)
        study.enqueue_trial(agenda._params(asked), user_attrs=agenda._attributes(asked))
    assert [row.learning_rate for row in agenda.rows(study.trials)] == rates
