"""`smallest` from the command line, on a task whose truth is planted and on real digits."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import textwrap
import time

import optuna
import pytest

from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from tests.study.conftest import JOURNAL, finish, spawn, study_of

pytestmark = pytest.mark.usefixtures("journal")

LADDER = """
    import math, random

    def objective(params, run):
        '''Sizes from 8 reach .95 at rates near .1; the error is a parabola in log rate.'''
        draw = random.Random(params.seed)
        off = math.log2(params.learning_rate / 0.1)
        error = (0.03 if params.batch_size >= 8 else 0.08) * math.exp(0.06 * off**2)
        accuracy = max(0.0, 1 - error * math.exp(0.1 * draw.gauss(0, 1)))
        run.begin(10 * params.epochs)
        for epoch in range(params.epochs):
            for _ in range(10):
                run.step(1.0)
            run.report(accuracy * (epoch + 1) / params.epochs)
        if params.score_test:
            run.scored(accuracy - 0.01)
"""
ARGS = ("--task", "mine.py", "--epochs", "3", "--batch-sizes", "1:128")
ASKED = (*ARGS, "--target", "0.95")


@pytest.fixture
def task(write_task):
    return write_task(LADDER)


def trials_of(name="mine.py:objective"):
    return study_of(name).get_trials(deepcopy=False)


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A folder with a study whose question was answered, and that answer."""
    folder, out = tmp_path_factory.mktemp("answered"), io.StringIO()
    (folder / "mine.py").write_text(textwrap.dedent(LADDER))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(folder)
        patch.setenv("BATCHFRONT_STORAGE", JOURNAL)
        assert main(["smallest", *ASKED, "--json"]) == 0
    return folder, json.loads(out.getvalue())


@pytest.fixture
def answer(answered, monkeypatch):
    """The answer, in the folder of its study."""
    folder, found = answered
    monkeypatch.chdir(folder)
    return found


def test_the_planted_size_is_found_and_all_runs_are_trials_of_the_study(answer):
    assert (answer["answer"], answer["status"], answer["reason"]) == (8, "shown", None)
    ladder = {row["batch_size"]: row for row in answer["ladder"]}
    assert [ladder[size]["counts"] for size in (64, 32, 16, 8, 4)] == [True] * 4 + [False]
    assert answer["confirmed"]
    assert ladder[8]["n_reached"] >= 24
    assert 0.03 < ladder[8]["learning_rate"] < 0.3
    assert all("purpose" in trial.user_attrs for trial in trials_of())
    assert {one["batch_size"] for one in answer["sensitivity"]} == {4, 8, 16}


def test_the_answer_alone_is_scored_on_the_test_split(answer):
    scored = [trial for trial in trials_of() if "test_metric" in trial.user_attrs]
    assert len(scored) == len(answer["test"]) >= 15
    for trial in scored:
        assert trial.params["batch_size"] == answer["answer"]
        assert trial.user_attrs["test_metric"] == pytest.approx(trial.values[0] - 0.01)


def test_the_same_question_again_runs_nothing(answer, capsys):
    n_before = len(trials_of())
    assert main(["smallest", *ASKED, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert len(trials_of()) == n_before


def test_people_get_sentences_and_tables_that_fit(answer, capsys):
    assert main(["smallest", *ASKED, "--max-trials", "0"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("The smallest batch size that reaches 0.95 is 8, at learning rate ")
    assert "4 does not (" in out
    assert "on the test split, looked at once" in out
    assert "with the learning rate frozen at" in out
    tables = [line for line in out.splitlines() if "  " in line]
    assert max(map(len, tables)) <= 100


def test_every_figure_of_an_answer_names_its_trials(answer, capsys):
    by_number = {trial.number: trial for trial in trials_of()}
    for row in [*answer["ladder"], *answer["sensitivity"]]:
        own = [by_number[number] for number in row["trials"]]
        assert {trial.params["batch_size"] for trial in own} <= {row["batch_size"]}
        assert len(own) == row["n_seeds"]
        reached = [trial.number for trial in own if trial.values and trial.values[0] >= 0.95]
        assert row.get("trials_that_reach", reached) == reached
        assert len(reached) == row["n_reached"]
    assert main(["smallest", *ASKED, "--max-trials", "0", "--trials"]) == 0
    assert "seeds of 8: trials " in capsys.readouterr().out


def test_max_trials_ends_a_call_and_the_next_goes_on(task, rows):
    first = rows("smallest", *ARGS, "--target", "0.95", "--max-trials", "20")
    assert (first["answer"], first["status"]) == (None, "not_shown")
    assert "is not decided" in first["reason"]
    assert len(trials_of()) == 20
    judged = rows("smallest", *ARGS, "--target", "0.95", "--max-trials", "0")
    assert judged == first
    assert rows("smallest", *ARGS, "--target", "0.95")["answer"] == 8


def test_a_search_before_helps_and_its_pruner_leaves_the_seeds_alone(task, rows):
    assert main(["run", *ARGS, "--n-trials", "12", "--pruner", "median"]) == 0
    answer = rows("smallest", *ARGS, "--within", "0.02")
    assert answer["answer"] == 8
    asked = [t for t in trials_of() if "purpose" in t.user_attrs]
    assert asked
    assert all(trial.state.name == "COMPLETE" for trial in asked)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_no_run_and_no_purpose(task, rows, workdir, monkeypatch):
    monkeypatch.delenv("BATCHFRONT_STORAGE")  # in the usual storage
    few = (*ARGS[:-1], "32:64")
    args = ("smallest", *few, "--target", "0.95", "--n-workers", "2", "--grace", "2")
    process = spawn(*args, cwd=workdir, start_new_session=True)
    path = workdir / "runs" / "batchfront.db"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (path.exists() and _n_finished() >= 8):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    answer = rows("smallest", *few, "--target", "0.95", "--grace", "2")
    assert answer["answer"] == 32
    assert all("purpose" in trial.user_attrs for trial in trials_of())
    states = {trial.state.name for trial in trials_of()}
    assert not states & {"RUNNING", "WAITING"}


def _n_finished():
    try:
        return sum(trial.state.is_finished() for trial in trials_of())
    except (KeyError, optuna.exceptions.StorageInternalError):
        return 0


def test_rates_beyond_the_searched_range_are_kept_by_retries_and_copies(task, rows, journal):
    beyond = (*ARGS[:-1], "64", "--learning-rates", "0.3:3", "--target", "0.95")
    assert rows("smallest", *beyond)["answer"] == 64
    assert min(t.params["learning_rate"] for t in trials_of()) < 0.3
    copied = "sqlite:///copy.db"
    assert main(["copy", "--from", journal, "--to", copied]) == 0
    storage = open_storage(copied, mode="reader")
    copy = optuna.load_study(study_name="mine.py:objective", storage=storage)
    assert [t.params for t in copy.get_trials()] == [t.params for t in trials_of()]


def test_parameters_of_the_task_keep_their_usual_values(write_task, rows):
    write_task(
        f"""
        from batchfront import CustomLoop, Parameter
        {textwrap.indent(textwrap.dedent(LADDER), 8 * " ")}
        objective = CustomLoop(function=objective, search={{"width": Parameter(low=1, high=9)}})
        """
    )
    assert rows("smallest", *ARGS[:-1], "64", "--target", "0.95")["answer"] == 64
    assert {trial.params["width"] for trial in trials_of()} == {5}


def test_a_table_is_not_replayed_but_says_what_to_do(workdir, capsys):
    columns = "task,optimizer,batch_size,learning_rate,seed,epoch,train_loss,val_accuracy"
    header = f"{columns},train_seconds,peak_memory_bytes\n"
    (workdir / "t.csv").write_text(header + "x,sgd,8,0.1,0,1,1.0,0.5,1.0,100\n")
    assert main(["smallest", "--task", "t.csv", "--target", "0.9"]) == 2
    assert "import the table" in capsys.readouterr().err
    assert not (workdir / "runs").exists()


def test_a_study_without_runs_is_no_evidence(task, workdir, capsys):
    assert main(["smallest", *ARGS, "--target", "0.95", "--max-trials", "0"]) == 2
    assert "error:" in capsys.readouterr().err
