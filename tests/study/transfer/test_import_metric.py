"""Recorded runs that are judged by a metric of their own name."""

from __future__ import annotations

import pytest

from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.trials.yardstick import metric_in

STORAGE = "sqlite:///runs/batchfront.db"
RUNS = """\
batch_size,learning_rate,seed,epoch,val_loss,wer,train_seconds
8,0.1,0,1,2.5,0.9,1
8,0.1,0,2,2.0,0.8,2
16,0.1,0,1,2.4,0.7,0.6
16,0.1,0,2,2.2,0.85,1.2
8,1.0,0,1,nan,nan,1
"""


@pytest.fixture
def table(workdir):
    (workdir / "runs.csv").write_text(RUNS)
    return "runs.csv"


def test_the_best_is_the_least_of_what_is_minimized(table, rows):
    assert main(["import", table, "--metric", "val_loss"]) == 0
    study = the_study(STORAGE, None)
    assert study.metric_names == ["val_loss", "train_seconds"]
    assert [d.name for d in study.directions] == ["MINIMIZE", "MINIMIZE"]
    assert [row["val_loss"] for row in rows("front")] == [2.2, 2.0]
    exported = {row["number"]: row for row in rows("export")}
    assert exported[0]["best_metric"] == 2.0
    assert exported[0]["wer"] == 0.8, "other columns are kept"
    assert exported[2]["verdict"] == "non_finite"


def test_a_name_that_nobody_knows_needs_a_direction(table, capsys):
    assert main(["import", table, "--metric", "wer"]) == 2
    assert "which way is wer better? give --direction" in capsys.readouterr().err
    assert main(["import", table, "--metric", "wer", "--direction", "minimize"]) == 0
    metric = metric_in(the_study(STORAGE, None))
    assert (metric.name, metric.direction, metric.bound) == ("wer", "minimize", None)


def test_a_column_that_is_no_word_is_stored_under_one_and_that_is_said(table, workdir, capsys):
    (workdir / table).write_text(RUNS.replace("wer", "word errors (%)"))
    options = ["--metric", "word errors (%)", "--direction", "minimize"]
    assert main(["import", table, *options]) == 0
    said = capsys.readouterr().err
    assert said.count("the metric 'word errors (%)' is called word_errors in the study") == 1
    study = the_study(STORAGE, None)
    assert (metric_in(study).name, metric_in(study).direction) == ("word_errors", "minimize")
    assert [t.values[0] for t in study.trials if t.values] == [0.8, 0.85]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metric", "val_mae"], "lacks the column val_mae of the metric; it has batch_size"),
        (["--direction", "minimize"], "--direction is of a metric: give --metric"),
        (["--metric", "wer", "--direction", "down"], "unknown direction 'down'"),
        (["--metric", "val f1", "--direction", "maximize"], "val_f1=val f1: the table has"),
        (["--metric", "train_seconds"], "which is another objective"),
        (
            ["--metric", "w e r", "--map", "w_e_r=wer", "--direction", "minimize"],
            "--metric 'w e r' is called w_e_r here, which --map has as 'wer': give one of the two",
        ),
    ],
)
def test_what_is_no_metric_of_the_file_is_said_in_one_line(options, said, table, capsys):
    assert main(["import", table, *options]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--target", "target got val_accuracy=95, wanted a fraction between 0 and 1"),
        ("--min-accuracy", "min_metric got val_accuracy=95, wanted a fraction between 0 and 1"),
        ("--max-metric", "max_metric got val_accuracy=95, wanted a fraction"),
    ],
)
def test_a_limit_that_no_value_can_reach_is_refused(option, said, workdir, capsys):
    assert main(["run", "--task", "planted.py", option, "95"]) == 2
    assert said in capsys.readouterr().err


def test_a_limit_of_the_wrong_direction_is_refused(workdir, capsys):
    assert main(["run", "--task", "planted.py", "--max-metric", "0.9"]) == 2
    assert "val_accuracy is maximized, and max_metric would forbid" in capsys.readouterr().err


def test_a_fraction_in_percent_is_refused_where_the_bound_is_known(workdir, capsys):
    (workdir / "runs.csv").write_text("batch_size,learning_rate,val_f1\n8,0.1,61\n")
    assert main(["import", "runs.csv", "--metric", "val_f1"]) == 2
    assert "val_f1 is 61, wanted" in capsys.readouterr().err
