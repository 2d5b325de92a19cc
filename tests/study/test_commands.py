import shlex

from batchfront.study.cli.main import main
from batchfront.study.commands import TYPED_VARIABLE, command, setting

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
