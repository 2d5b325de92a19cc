"""What the page says of how a study was measured."""

from __future__ import annotations

import shlex

import optuna

from batchfront.study.cli.main import main

RUN = ["run", "--batch-sizes", "16:32", "--epochs", "1", "--n-trials", "2", "--sampler", "random"]


def stored(name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage="sqlite:///runs/batchfront.db")


def test_the_page_names_the_hardware_and_a_command_that_draws_the_same_trials(workdir):
    from batchfront.study.findings.page.measured import measured_rows

    assert main(RUN) == 0
    study = stored("digits")
    rows = dict(measured_rows(study, study.trials))
    assert "1 thread, torch 2." in rows["Hardware"]
    assert "2 batch sizes probed" in rows["Hardware"]
    verb = shlex.split(rows["The same again"])
    assert verb[:2] == ["batchfront", "run"]
    assert main(verb[1:]) == 0
    again = stored("digits-again")
    assert [t.params for t in again.trials] == [t.params for t in study.trials]

    assert main(["report", "--study-name", "digits", "-o", "page.html"]) == 0
    page = (workdir / "page.html").read_text()
    assert rows["The same again"] in page
    assert "**" not in page.split('class="note"')[1].split("</div>")[0], "no raw Markdown"


def test_a_study_of_recorded_runs_has_no_command(workdir):
    from batchfront.study.findings.page.measured import measured_rows

    (workdir / "runs.csv").write_text("batch_size,learning_rate,val_accuracy\n16,0.1,0.9\n")
    assert main(["import", "runs.csv"]) == 0
    study = stored("runs")
    assert measured_rows(study, study.trials) == []
