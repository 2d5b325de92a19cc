"""Pruning as a user has it: names, options, verdicts, resumes; played from recorded curves."""

from __future__ import annotations

import optuna
import pytest

from batchfront.objectives.curves.table import read_table
from batchfront.study.cli.main import main
from batchfront.study.trials.attributes import CONSTRAINT, PRUNER_STATE
from batchfront.study.trials.outcome import MAX_GRADE, MIN_GRADE

from ..conftest import ROOT, study_of

TABLE = ROOT / "benchmarks" / "tables" / "digits_cnn_sgd.csv.gz"
RUN = ("run", "--task", str(TABLE), "--batch-sizes", "2:512", "--sampler", "random")
UNPRUNED = (*RUN, "--n-trials", "30", "--pruner", "none")


pytestmark = pytest.mark.usefixtures("journal")


def _study() -> optuna.Study:
    return study_of(TABLE.name)


def test_the_default_pruner_stops_dominated_runs_with_evidence(workdir, rows):
    assert main([*RUN, "--n-trials", "60"]) == 0
    dominated = [row for row in rows("export") if row["verdict"] == "dominated"]
    assert len(dominated) >= 5
    by_number = {trial.number: trial for trial in _study().trials}
    for row in dominated:
        trial = by_number[row["number"]]
        rival = by_number[int(row["reason"].split()[1])]
        assert trial.state.name == "PRUNED"
        assert MIN_GRADE <= trial.constraints[CONSTRAINT] <= MAX_GRADE
        assert rival.values[0] > max(row["metric_curve"][-1:])
        assert rival.values[1] <= row["train_seconds"]
        assert rival.values[2] <= row["peak_memory_bytes"]
        assert not trial.intermediate_values
        assert 2 <= len(row["metric_curve"]) < 10
        assert row["steps"] < row["total_steps"]
    fronted = {row["number"] for row in rows("front")}
    assert fronted.isdisjoint(row["number"] for row in dominated)


@pytest.mark.slow
def test_the_front_with_the_default_pruner_is_that_without(workdir, rows):
    """The same points, with and without: members that are missing are ties."""
    options = ["--n-trials", "60", "--batch-sizes", "8:64"]
    assert main([*RUN, *options, "--study-name", "pruned"]) == 0
    verdicts = [row["verdict"] for row in rows("export", "--study-name", "pruned")]
    assert verdicts.count("dominated") >= 5
    assert main([*RUN, *options, "--study-name", "whole", "--pruner", "none"]) == 0
    pruned = rows("front", "--study-name", "pruned")
    for member in rows("front", "--study-name", "whole"):
        assert any(
            row["val_accuracy"] >= member["val_accuracy"] - 0.005
            and row["train_seconds"] <= member["train_seconds"]
            and row["peak_memory_bytes"] <= member["peak_memory_bytes"]
            for row in pruned
        ), member


def test_a_stock_pruner_stops_runs_by_name(workdir, rows):
    """What the other names give, and what these decide: test_stock_pruners."""
    name = "hyperband"
    assert main([*RUN, "--n-trials", "20", "--pruner", name]) == 0
    pruned = [row for row in rows("export") if row["verdict"] == "pruned"]
    assert pruned
    assert {row["reason"].partition(" after")[0] for row in pruned} == {f"{name} stopped it"}
    assert all(0 < _study().trials[row["number"]].constraints[CONSTRAINT] <= 1 for row in pruned)


def test_a_run_is_not_stopped_after_its_last_epoch(workdir, rows):
    assert main([*RUN, "--n-trials", "30", "--pruner", "percentile"]) == 0
    assert max(len(r["metric_curve"]) for r in rows("export") if r["verdict"] == "pruned") < 10


@pytest.mark.slow
def test_two_workers_prune_by_successive_halving(workdir, rows):
    assert main([*RUN, "--n-trials", "24", "--pruner", "halving", "--n-workers", "2"]) == 0
    exported = rows("export")
    assert [row["number"] for row in exported] == list(range(24))
    pruned = [row for row in exported if row["verdict"] == "pruned"]
    assert len(pruned) >= 12, "each sees the rungs of both"
    assert all(PRUNER_STATE in _study().trials[row["number"]].user_attrs for row in pruned)


def test_without_a_pruner_only_divergence_stops_runs(workdir, recorded, rows):
    recorded(workdir, *UNPRUNED)
    assert {row["verdict"] for row in rows("export")} <= {"completed", "stalled", "diverged"}


def test_a_resume_keeps_the_pruner_unless_told_otherwise(workdir, rows):
    assert main([*RUN, "--n-trials", "20", "--pruner", "median"]) == 0
    assert main([*RUN, "--n-trials", "40"]) == 0
    assert {r["verdict"] for r in rows("export")[20:]} >= {"pruned"}
    assert main([*RUN, "--n-trials", "60", "--pruner", "none"]) == 0
    assert "pruned" not in {r["verdict"] for r in rows("export")[40:]}


def test_threshold_stops_below_the_minimum_accuracy(workdir, rows):
    options = ("--pruner", "threshold", "--min-accuracy", "0.8", "--n-trials", "30")
    assert main([*RUN, *options]) == 0
    pruned = [row for row in rows("export") if row["verdict"] == "pruned"]
    assert pruned
    assert all(row["metric_curve"][-1] < 0.8 for row in pruned)
    assert min(len(row["metric_curve"]) for row in pruned) == 5, "half of the epochs"


OWN = """
    import optuna

    class Fifth(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.number % 5 == 0

    ready = Fifth()
    broken = 1 / 1

    class Raising(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            raise KeyError("lost")

    def failing():
        raise OSError("no disk")
"""


@pytest.mark.parametrize("name", ["Fifth", "ready"])
def test_a_pruner_of_your_own_is_loaded_from_its_file(write_task, rows, name):
    path = write_task(OWN)
    assert main([*RUN, "--n-trials", "11", "--pruner", f"{path}:{name}"]) == 0
    stopped = [row["number"] for row in rows("export") if row["verdict"] == "pruned"]
    assert stopped == [0, 5, 10]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pruner", "medain"], "unknown pruner 'medain': did you mean 'median'? choose from"),
        (
            ["--pruner", "threshold"],
            "pruner threshold stops runs beyond --min-metric or",
        ),
        (["--pruner-risk", "0"], "pruner_risk is 0, wanted between 0 and 1"),
        (["--pruner-risk", "1.5"], "pruner_risk is 1.5, wanted between 0 and 1"),
        (
            ["--pruner", "median", "--pruner-risk", "0.1"],
            "--pruner-risk is for the pruners front and front-paused, not for median",
        ),
        (["--pruner", "absent.py:x"], "pruner file 'absent.py' is not there"),
        (["--pruner", "mine.py:x"], "mine.py has no 'x', wanted a pruner or a function that"),
        (["--pruner", "mine.py:broken"], "pruner 'mine.py:broken' fails: TypeError"),
        (["--pruner", "mine.py:failing"], "pruner 'mine.py:failing' fails: OSError: no disk"),
        (["--pruner", "mine.py:OWN"], "pruner 'mine.py:OWN' is int, wanted an optuna BasePruner"),
    ],
)
def test_a_bad_pruner_is_one_line_and_creates_nothing(write_task, workdir, capsys, options, said):
    write_task(OWN + "\n    OWN = int\n")
    assert main([*RUN, *options]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (workdir / "runs").exists() or "no studies" in _listed(capsys)


def _listed(capsys) -> str:
    main(["ls"])
    out = capsys.readouterr().out
    return "no studies" if TABLE.name not in out else out


def test_a_pruner_that_raises_ends_the_run_with_its_name_and_loses_nothing(
    write_task, rows, capsys
):
    path = write_task(OWN)
    assert main([*RUN, "--n-trials", "5", "--pruner", "none"]) == 0
    assert main([*RUN, "--n-trials", "9", "--pruner", f"{path}:Raising"]) == 2
    assert "Raising failed: KeyError: 'lost'" in capsys.readouterr().err
    assert main([*RUN, "--n-trials", "9", "--pruner", "none"]) == 0
    assert rows("ls")[0]["n_trials"] == 9
    (lost,) = [row for row in rows("export") if row["fail_reason"] == "interrupted"]
    (again,) = [row for row in rows("export") if row["retry_of"] == lost["number"]]
    assert again["learning_rate"] == lost["learning_rate"]
    assert again["state"] == "COMPLETE"


LOOP = """
    from batchfront import Stopped, Verdict

    def objective(params, run):
        '''Ten epochs, validated after every fifth only.'''
        run.begin(500)
        for epoch in range(1, 11):
            for _ in range(50):
                sum(range(2000))
                run.step(0.5)
            if epoch % 5 == 0:
                run.report(0.5)

    def gives_up(params, run):
        objective(params, run) if params.batch_size < 8 else None
        raise Stopped(Verdict.PRUNED, "by myself")
"""


@pytest.mark.parametrize(("report", "verdict"), [(1, "pruned"), (2, "completed")])
def test_a_loop_that_reports_seldom_is_stopped_but_not_when_it_is_done(
    write_task, rows, report, verdict
):
    """Its second report is its last, though five epochs of ten seem to be left."""
    own = f"""
    import optuna

    class At(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return len(trial.intermediate_values) == {report}
"""
    path = write_task(LOOP + own)
    options = ("--task", path, "--epochs", "10", "--n-trials", "2", "--batch-sizes", "4")
    assert main(["run", *options, "--pruner", f"{path}:At"]) == 0
    assert [row["verdict"] for row in rows("export")] == [verdict] * 2
    assert {row["steps"] for row in rows("export")} == {250 * report}


def test_an_objective_that_prunes_itself_is_graded_as_pruned(write_task, rows):
    path = write_task(LOOP)
    options = ("--epochs", "10", "--n-trials", "2", "--batch-sizes", "4")
    assert main(["run", "--task", f"{path}:gives_up", *options]) == 0
    trials = study_of("mine.py:gives_up").trials
    assert {trial.constraints[CONSTRAINT] for trial in trials} == {MAX_GRADE}


def test_more_epochs_than_recorded_are_refused_before_anything_is_made(workdir, capsys):
    assert main([*RUN, "--epochs", "99"]) == 2
    err = capsys.readouterr().err
    assert "epochs is 99, and digits_cnn_sgd.csv.gz holds curves of 10 epochs: choose" in err
    assert not (workdir / "runs").exists()


def test_a_table_is_searched_where_it_was_recorded(workdir, rows):
    assert main(["run", "--task", str(TABLE), "--n-trials", "20", "--sampler", "random"]) == 0
    assert {row["batch_size"] for row in rows("export")} <= set(read_table(TABLE).batch_sizes)


def test_a_replayed_study_tells_the_recorded_time_and_memory(workdir, recorded, rows):
    table = read_table(TABLE)
    recorded(workdir, *UNPRUNED)
    for row in rows("export"):
        size = row["batch_size"]
        assert row["train_seconds"] == pytest.approx(table.epoch_seconds(size) * 10)
        assert row["peak_memory_bytes"] == table.peak_memory_bytes(size)
        assert row["time_off"] is None
