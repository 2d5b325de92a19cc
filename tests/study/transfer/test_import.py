"""`batchfront import`: a study from runs that were recorded elsewhere."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path
from statistics import median_high

import pytest

from batchfront.objectives.curves.table import read_table
from batchfront.study.cli.main import main
from batchfront.study.findings.overview.figures import best_per_batch_size, heat_map
from batchfront.study.opening.open import the_study
from batchfront.study.trials.front import non_dominated
from batchfront.study.trials.rows import runs_of
from tests.study.tables import CURVES, STORAGE, TO_TARGET, imported, recorded


def test_curves_become_trials_with_the_three_objectives(workdir, rows):
    study = imported(CURVES)
    assert study.metric_names == ["val_accuracy", "train_seconds", "peak_memory_bytes"]
    last = {
        (int(r["batch_size"]), float(r["learning_rate"]), int(r["seed"])): r
        for r in recorded(CURVES)
    }
    exported = rows("export")
    assert len(exported) == len(last) == 18
    for row in exported:
        found = last[row["batch_size"], row["learning_rate"], row["seed"]]
        for name in (*study.metric_names, "train_loss"):
            assert row[name] == float(found[name])
        assert (row["state"], row["verdict"], row["epochs"]) == ("COMPLETE", "completed", 20)
    first = [float(r["val_accuracy"]) for r in recorded(CURVES)[:20]]
    assert exported[0]["metric_curve"] == first
    assert exported[0]["best_metric"] == max(first)


def test_a_replay_of_the_same_table_tells_the_same(workdir, rows):
    imported(CURVES)
    points = {(r["batch_size"], r["learning_rate"], r["seed"]): r for r in rows("export")}
    run = ("run", "--task", str(CURVES), "--sampler", "random", "--pruner", "none")
    assert main([*run, "--study-name", "played", "--n-trials", "12"]) == 0
    table, n_compared = read_table(CURVES), 0
    for row in rows("export", "--study-name", "played"):
        near = table.nearest(row["batch_size"], row["learning_rate"], row["seed"])
        if row["state"] != "COMPLETE":  # the guard, which an import does not play
            continue
        point = points[near.batch_size, near.learning_rate, near.seed]
        assert row["val_accuracy"] == point["val_accuracy"]
        assert row["train_seconds"] == pytest.approx(point["train_seconds"])
        assert row["metric_curve"] == point["metric_curve"]
        assert row["epochs"] == point["epochs"]
        if row["batch_size"] == near.batch_size:
            assert row["peak_memory_bytes"] == point["peak_memory_bytes"]
        n_compared += 1
    assert n_compared >= 6


def test_epochs_to_target_are_the_only_objective_and_any_batch_size_is_kept(workdir, rows):
    study = imported(TO_TARGET)
    assert study.metric_names == ["epochs_to_target"]
    assert [d.name for d in study.directions] == ["MINIMIZE"]
    exported = rows("export")
    asked = [
        (int(r["batch_size"]), float(r["learning_rate"]), float(r["epochs_to_target"]))
        for r in recorded(TO_TARGET)
    ]
    assert [(r["batch_size"], r["learning_rate"], r["epochs_to_target"]) for r in exported] == asked
    assert 3264 in {r["batch_size"] for r in exported}
    evidence = runs_of(study.trials, study.metric_names)
    assert [run.epochs_to_target for run in evidence] == [epochs for _, _, epochs in asked]
    run = evidence[0]
    assert run.metric is None
    assert run.train_seconds is None
    assert run.peak_memory_bytes is None
    assert run.curve == ()


@pytest.mark.parametrize("name", ["curves", "few"])
def test_every_look_at_an_imported_study_works(few, capsys, rows, name):
    file = few if name == "few" else CURVES
    study = imported(file)
    said = capsys.readouterr().err
    assert f"imported {len(study.trials)} runs of {file.name}" in said
    (listed,) = rows("ls")
    assert (listed["study_name"], listed["n_complete"]) == (file.stem, len(study.trials))
    front = rows("front")
    assert front
    assert all(row[name] is not None for row in front for name in study.metric_names)
    for argv in (["front"], ["front", "--csv"], ["export"], ["report", "-o", "r.html"]):
        assert main(argv) == 0
    captured = capsys.readouterr()
    assert max(map(len, captured.out.splitlines()[: len(front) + 5])) <= 100
    page = Path("r.html").read_text()
    assert f"runs imported from {file.name}" in page
    n_figures = 6 if len(study.metric_names) == 3 else 2
    assert page.count('<div class="figure">') == n_figures
    note = f"Runs recorded elsewhere, imported from {file.name}: task"  # as the dashboard has it
    assert note in page


def test_the_front_of_one_objective_is_its_setting_of_the_best_median(workdir, few, rows):
    imported(few)
    by_setting: dict[tuple[str, str], list[float]] = {}
    for row in recorded(few):
        setting = (row["batch_size"], row["learning_rate"])
        by_setting.setdefault(setting, []).append(float(row["epochs_to_target"] or "inf"))
    best = min(map(median_high, by_setting.values()))  # of two in the middle the worse
    assert {row["epochs_to_target"] for row in rows("front")} == {best}


def test_the_figures_take_the_fewest_epochs_for_the_best(workdir):
    study = imported(TO_TARGET)
    names = study.metric_names
    lowest: dict[int, float] = {}
    for row in recorded(TO_TARGET):
        size, epochs = int(row["batch_size"]), float(row["epochs_to_target"])
        lowest[size] = min(epochs, lowest.get(size, epochs))
    best = best_per_batch_size(study.trials, names)
    assert dict(zip(best.data[1].x, best.data[1].y, strict=True)) == lowest
    ticks = best.layout.xaxis.ticktext
    assert set(ticks) <= set(lowest)
    assert all(b > 1.4 * a for a, b in pairwise(ticks))  # 58880 and 67840 would be one over another
    cells = [z for row in heat_map(study.trials, names).data[0].z for z in row if z is not None]
    assert set(cells) <= set(lowest.values())
    assert min(cells) == min(lowest.values())


def test_steps_and_examples_to_target_trade_off(table, rows):
    text = """batch_size,learning_rate,steps_to_target,examples_to_target
        10,0.1,100,1000
        100,0.1,20,2000
        100,0.2,30,3000"""
    study = imported(table(text))
    assert study.metric_names == ["steps_to_target", "examples_to_target"]
    assert [row["number"] for row in rows("front")] == [0, 1]  # from the fewest examples
    assert main(["report", "-o", "r.html"]) == 0
    assert Path("r.html").read_text().count('<div class="figure">') == 3
    assert [run.steps_to_target for run in runs_of(study.trials, study.metric_names)] == [
        100,
        20,
        30,
    ]


def test_what_dominates_follows_the_direction_of_each_objective():
    assert non_dominated([(0.9,), (0.8,), (0.9,)], ["val_accuracy"]) == [True, False, True]
    assert non_dominated([(0.9,), (0.8,)], ["epochs_to_target"]) == [False, True]
    pairs = [(0.9, 10.0), (0.8, 10.3), (0.8, 9.0)]
    assert non_dominated(pairs, ["val_accuracy", "train_seconds"]) == [True, False, True]
    assert non_dominated(pairs, ["val_accuracy", "epochs_to_target"]) == [True, False, True]


def test_a_nan_makes_a_run_non_finite_and_keeps_it_off_the_front(workdir, rows):
    lines = CURVES.read_text().splitlines()
    assert lines[3].startswith("digits,sgd-momentum,8,0.01,0,3,")
    cells = lines[3].split(",")
    cells[6] = "nan"
    Path("nan.csv").write_text("\n".join([*lines[:3], ",".join(cells), *lines[21:]]) + "\n")
    study = imported("nan.csv")
    failed = study.trials[0]
    assert failed.state.name == "PRUNED"
    assert failed.constraints == {"stopped": 3.0}
    row = rows("export")[0]
    assert row["verdict"] == "non_finite"
    assert row["reason"] == "train_loss was recorded as nan after epoch 3"
    assert len(row["metric_curve"]) == 3
    assert row["measured_seconds"] == float(cells[8])
    assert row["train_seconds"] == pytest.approx(float(cells[8]) / 3 * 20)
    assert 0 not in {r["number"] for r in rows("front")}
    assert [run.verdict for run in runs_of(study.trials, study.metric_names)][:2] == [
        "non_finite",
        "completed",
    ]
    assert main(["report", "-o", "r.html"]) == 0
    assert "1 non_finite" in Path("r.html").read_text()


def test_marked_runs_are_stopped_trials(table, rows):
    text = """batch_size,learning_rate,val_accuracy,verdict,diverged
        8,0.1,0.9,,no
        8,1,0.1,,True
        8,2,,diverged,
        9,0.1,0.5,pruned,
        999,0.1,,out_of_memory,
        8,0.2,nan,,"""
    study = imported(table(text))
    verdicts = ["completed", "diverged", "diverged", "pruned", "out_of_memory", "non_finite"]
    exported = rows("export")
    assert [row["verdict"] for row in exported] == verdicts
    assert [row["state"] for row in exported] == ["COMPLETE"] + ["PRUNED"] * 5
    assert [t.constraints["stopped"] for t in study.trials] == [0, 3, 3, 1, 4, 3]
    assert exported[1]["val_accuracy"] == 0.1
    assert study.trials[1].values is None
    assert main(["report", "-o", "r.html"]) == 0
    assert "stopping early saved" not in Path("r.html").read_text()  # nobody knows


def test_a_run_that_never_reached_the_target_is_kept_as_such(table, rows):
    text = """batch_size,learning_rate,seed,epochs_to_target
        8,0.1,0,12
        8,0.1,1,
        8,0.1,2,inf"""
    imported(table(text))
    exported = rows("export")
    assert [row["verdict"] for row in exported] == ["completed", "pruned", "pruned"]
    assert exported[1]["reason"] == "recorded without reaching the target"
    assert [row["epochs_to_target"] for row in exported] == [12, None, None]


def test_a_metric_is_the_objective_where_there_is_one(table, rows):
    text = """batch_size,learning_rate,val_r2,train_seconds,epochs_to_target,steps_to_target
        8,0.1,0.7,3.5,12,1200
        16,0.1,-0.7,2,,"""
    study = imported(table(text))
    assert study.metric_names == ["val_r2", "train_seconds"]
    assert [row["epochs_to_target"] for row in rows("export")] == [12, None]
    assert [row["steps_to_target"] for row in rows("export")] == [1200, None]
    assert [run.metric for run in runs_of(study.trials, study.metric_names)] == [0.7, -0.7]
    assert [run.train_seconds for run in runs_of(study.trials, study.metric_names)] == [3.5, 2.0]


def test_negative_accuracy_is_r2_as_in_a_replay(table):
    text = "batch_size,learning_rate,val_accuracy\n8,0.1,0.7\n8,0.2,-0.1"
    assert imported(table(text)).metric_names == ["val_r2"]


def test_unknown_columns_are_attributes_and_collisions_are_prefixed(table, rows, capsys):
    text = """batch_size,learning_rate,val_accuracy,gpu,width,device,number,acc
        8,0.1,0.7,A100,64,cuda:1,17,0.5
        8,0.2,0.8,,128.5,cpu,18,"""
    study = imported(table(text))
    said = capsys.readouterr().err
    assert "gpu, width, device (as file_device), number (as file_number), acc" in said
    assert study.trials[0].user_attrs["gpu"] == "A100"
    assert study.trials[1].user_attrs["width"] == 128.5
    first, second = rows("export")
    assert (first["gpu"], first["width"], first["file_device"]) == ("A100", 64, "cuda:1")
    assert (first["number"], first["file_number"], first["device"]) == (0, 17, None)
    assert second["gpu"] is None
    assert main(["export"]) == 0
    header = capsys.readouterr().out.splitlines()[0].split(",")
    assert {"gpu", "file_device"} < set(header)
    assert len(header) == len(set(header))


def test_what_looks_like_a_column_is_pointed_out_when_it_is_not_read(table, capsys):
    imported(table("batch_size,learning_rate,train_seconds,val_acc\n8,0.1,3,0.5"))
    assert "column 'val_acc': if it is val_accuracy, rename it" in capsys.readouterr().err


def test_without_seeds_repetitions_are_runs_of_their_own(table):
    text = "batch_size,learning_rate,val_accuracy\n8,0.1,0.7\n8,0.1,0.8"
    assert [t.values for t in imported(table(text)).trials] == [[0.7], [0.8]]


def test_without_seeds_every_first_epoch_begins_a_curve(table):
    text = """batch_size,learning_rate,epoch,val_accuracy
        8,0.1,1,0.5
        8,0.1,2,0.6
        8,0.1,1,0.7
        8,0.1,2,0.8"""
    study = imported(table(text))
    assert [t.user_attrs["metric_curve"] for t in study.trials] == [[0.5, 0.6], [0.7, 0.8]]


def test_compressed_files_and_marks_of_spreadsheets_are_read(workdir, few):
    plain = imported(few).trials
    Path("z.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + few.read_bytes()))
    assert main(["import", "z.csv.gz"]) == 0
    assert [t.values for t in the_study(STORAGE, "z").trials] == [t.values for t in plain]
