import shlex

from batchfront.study.cli.main import main
from batchfront.study.commands import TYPED_VARIABLE, command

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
