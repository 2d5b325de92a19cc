"""What stands in a file is what stands in the study, or the import is refused with advice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchfront.objectives.curves.table import COLUMNS, read_table
from batchfront.objectives.measurement import ObjectiveError
from batchfront.study.cli.main import main
from tests.study.tables import imported


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["123456789012345678", "7"], ["123456789012345678", "7"]),
        (["1234e56", "12345678"], ["1234e56", "12345678"]),
        (["2.9", "2.10"], ["2.9", "2.10"]),
        (["00420017", "42"], ["00420017", "42"]),
        (["1_000", "-0"], ["1_000", "-0"]),
        (["64", "128.5"], [64, 128.5]),
        (["1.0", "1e-05"], [1.0, 1e-05]),
        (["-3", "nan"], [-3, "nan"]),
        (["A100", "3090"], ["A100", 3090]),
    ],
)
def test_a_column_is_of_numbers_only_where_they_print_as_they_were_written(table, texts, values):
    """Where one would not, its whole column stays text: it holds ids or versions."""
    lines = [f"8,0.1,0.9,{text}" for text in texts]
    study = imported(table("\n".join(["batch_size,learning_rate,val_accuracy,mark", *lines])))
    found = [trial.user_attrs["mark"] for trial in study.trials]
    assert found == values
    assert [str(value) for value in found] == texts
    assert [type(value) for value in found] == [type(value) for value in values]


def test_large_seeds_are_told_apart(table, rows):
    seeds = [1234567890123456789, 1234567890123456790, 2**128 - 1]
    lines = [f"16,0.01,{seed},0.9" for seed in seeds]
    imported(table("\n".join(["batch_size,learning_rate,seed,val_accuracy", *lines])))
    assert [row["seed"] for row in rows("export")] == seeds


def test_whole_numbers_may_be_written_with_a_point_or_an_exponent(table, rows):
    imported(table("batch_size,learning_rate,seed,val_accuracy\n1e3,0.1,7.0,0.9"))
    (row,) = rows("export")
    assert (row["batch_size"], row["seed"]) == (1000, 7)


@pytest.mark.parametrize("lost", ["-Infinity", "-inf", "-1e999", "nan"])
def test_a_metric_that_is_not_finite_is_no_r2(table, rows, lost):
    study = imported(table(f"batch_size,learning_rate,val_accuracy\n8,0.1,0.9\n8,1,{lost}"))
    assert study.metric_names == ["val_accuracy"]
    assert [row["verdict"] for row in rows("export")] == ["completed", "non_finite"]


@pytest.mark.parametrize(("lost", "metric"), [("-inf", "val_accuracy"), ("-0.5", "val_r2")])
def test_a_replay_takes_finite_negatives_for_r2(tmp_path, lost, metric):
    path = tmp_path / "t.csv"
    path.write_text(f"{','.join(COLUMNS)}\nt,sgd,8,0.1,0,1,1,0.9,1,9\nt,sgd,8,1,0,1,1,{lost},1,9\n")
    assert read_table(path).metric == metric


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\ufeff", "\u200b", "\xa0"])
def test_invisible_marks_around_names_are_no_part_of_them(workdir, rows, mark):
    text = f"{mark}batch_size,learning_rate{mark},val_accuracy\n8,0.1,0.9\n"
    Path("runs.csv").write_text(text, encoding="utf-8")
    imported("runs.csv")
    assert [row["val_accuracy"] for row in rows("export")] == [0.9]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_way_and_be_blank(workdir, rows, end):
    lines = ["", "batch_size,learning_rate,val_accuracy", "8,0.1,0.9", "", "16,0.1,0.8", ""]
    Path("runs.csv").write_bytes(end.join(lines).encode())
    imported("runs.csv")
    assert [row["val_accuracy"] for row in rows("export")] == [0.9, 0.8]


def test_markup_in_a_file_stays_text(table):
    study = imported(table('batch_size,learning_rate,val_accuracy,task\n8,0.1,0.9,"<img src=x>"'))
    assert main(["report", "-o", "r.html"]) == 0
    page = Path("r.html").read_text()
    assert "task &lt;img src=x&gt;" in page
    assert "<img src=x>" not in page
    notes = study._storage.get_study_system_attrs(study._study_id)
    assert "task &lt;img src=x&gt;" in str(notes)  # the dashboard shows it as Markdown


def test_a_loss_of_any_size_fits_a_line(table, capsys):
    imported(table("batch_size,learning_rate,train_loss\n8,0.1,-1e308"))
    assert main(["front"]) == 0
    assert "-1e+308" in capsys.readouterr().out


OF_EACH_EPOCH = """epoch,batch_size,learning_rate,val_accuracy,train_seconds
    1,16,0.01,0.7,2.0
    2,16,0.01,0.8,2.01
    3,16,0.01,0.9,2.02
    1,32,0.01,0.7,1.0
    2,32,0.01,0.8,1.01
    3,32,0.01,0.9,1.01"""


def test_seconds_of_each_epoch_are_not_taken_for_those_since_the_start(table, capsys):
    crashed = "\n1,64,0.01,nan,1.0\n1,64,0.1,0.7,\n2,64,0.1,nan,"  # what these took is unknown
    assert main(["import", table(OF_EACH_EPOCH + crashed)]) == 2
    said = capsys.readouterr().err
    assert "line 4: train_seconds is 2 after epoch 1 and 2.02 after epoch 3, wanted seconds" in said
    assert len(said.splitlines()) == 1


def test_a_replay_refuses_seconds_of_each_epoch_too(tmp_path):
    path = tmp_path / "t.csv"
    lines = [f"t,sgd,8,0.1,0,{epoch},1,0.9,{1 + epoch / 100},9" for epoch in (1, 2)]
    path.write_text("\n".join([",".join(COLUMNS), *lines]))
    with pytest.raises(ObjectiveError, match=r"line 3: train_seconds is 1.01 after epoch 1"):
        read_table(path)


def test_one_long_first_epoch_may_be(table, rows):
    """A run that compiled: the other run shows that its seconds add up."""
    text = OF_EACH_EPOCH.replace("2,32,0.01,0.8,1.01", "2,32,0.01,0.8,2.01")
    imported(table(text.replace("3,32,0.01,0.9,1.01", "3,32,0.01,0.9,3.01")))
    assert [row["train_seconds"] for row in rows("export")] == [2.02, 3.01]


KERAS = (
    ["epoch,loss,val_accuracy,batch_size,learning_rate", "0,0.9,0.7,16,0.01", "1,0.8,0.75,16,0.01"],
    "line 2: epoch is 0, wanted .*: number epochs 1, 2, ... and keep one row for each",
    ["epoch,loss,val_accuracy,batch_size,learning_rate", "1,0.9,0.7,16,0.01", "2,0.8,0.75,16,0.01"],
)
LIGHTNING = (
    ["epoch,train_loss,val_accuracy,batch_size,learning_rate", "1,0.9,,16,0.01", "1,,0.7,16,0.01",
     "2,0.5,,16,0.01", "2,,0.75,16,0.01"],
    "line 5: epoch 2 of .* is there twice, wanted one row with all that was measured in it",
    ["epoch,train_loss,val_accuracy,batch_size,learning_rate", "1,0.9,0.7,16,0.01",
     "2,0.5,0.75,16,0.01"],
)  # fmt: skip
SCHEDULE = (
    ["epoch,val_accuracy,batch_size,learning_rate", "1,0.7,16,0.01", "2,0.75,16,0.005"],
    "line 3: epoch 2 of .*: all rows of a run have the learning rate that it began with",
    ["epoch,val_accuracy,batch_size,learning_rate", "1,0.7,16,0.01", "2,0.75,16,0.01"],
)
PANDAS = (
    [",epoch,val_accuracy,batch_size,learning_rate", "0,1,0.7,16,0.01", "1,2,0.75,16,0.01"],
    "line 1: column 1 has no name: name it",
    ["index,epoch,val_accuracy,batch_size,learning_rate", "0,1,0.7,16,0.01", "1,2,0.75,16,0.01"],
)


@pytest.mark.parametrize(("lines", "said", "mended"), [KERAS, LIGHTNING, SCHEDULE, PANDAS])
def test_the_advice_on_logs_of_others_makes_them_curves(table, capsys, lines, said, mended):
    assert main(["import", table("\n".join(lines))]) == 2
    assert re.search(said, capsys.readouterr().err)
    (trial,) = imported(table("\n".join(mended))).trials
    assert trial.user_attrs["metric_curve"] == [0.7, 0.75]
