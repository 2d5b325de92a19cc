import shlex

import optuna
import pytest

from batchfront.study.cli.main import main
from batchfront.study.commands import TYPED_VARIABLE, command, setting
from batchfront.study.errors import StudyError
from batchfront.study.opening.open import the_study
from batchfront.study.quiet import quiet_optuna

OPTIONS = {"task": "my task.py", "n_trials": 60}


def test_what_make_started_is_gone_on_with_by_make(monkeypatch):
    monkeypatch.setenv(TYPED_VARIABLE, "")
    assert command("run", OPTIONS) == "make study TASK='my task.py' N_TRIALS=60"
    assert command("dashboard") == "make dashboard"


def test_without_make_a_command_is_one_that_the_parser_takes(monkeypatch, capsys):
    monkeypatch.delenv(TYPED_VARIABLE, raising=False)
    said = command("run", OPTIONS)
    assert said == "batchfront run --task 'my task.py' --n-trials 60"
    assert main(shlex.split(said)[1:]) == 2
    assert "task file 'my task.py' is not there" in capsys.readouterr().err


def test_a_setting_is_named_as_whoever_reads_it_writes_it(monkeypatch):
    monkeypatch.setenv(TYPED_VARIABLE, "")
    assert setting("n_trials") == "N_TRIALS"
    assert setting("learning_rates", "0.1:1") == "LEARNING_RATES=0.1:1"
    monkeypatch.delenv(TYPED_VARIABLE)
    assert setting("n_trials") == "--n-trials"
    assert setting("learning_rates", "0.1:1") == "--learning-rates 0.1:1"
    assert setting("n_trials", 60, in_python=True) == "n_trials=60"


def test_an_error_names_options_as_they_were_typed(workdir, monkeypatch, capsys):
    monkeypatch.setenv(TYPED_VARIABLE, "")
    assert main(["smallest"]) == 2
    assert "neither of TARGET and WITHIN, wanted one: TARGET=0.95" in capsys.readouterr().err
    for name in ("a", "b"):
        with quiet_optuna():
            optuna.create_study(storage="sqlite:///two.db", study_name=name)
    with pytest.raises(StudyError, match="choose with STUDY_NAME"):
        the_study("sqlite:///two.db", None)
