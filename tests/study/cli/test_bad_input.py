"""Bad input: one clear line, exit code 2, no traceback, nothing written or lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import batchfront as bf
from batchfront.study.cli.main import main
from batchfront.study.errors import StudyError

TASK = ("run", "--task", "planted.py", "--n-trials", "2", "--epochs", "1")


def _error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("error: ")
    return captured.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["fly"], "there is no verb 'fly' (see batchfront --help)"),
        (["runn"], "there is no verb 'runn': did you mean run?"),
        ([], "VERB"),
        (["run", "--n-trails", "3"], "run takes no --n-trails: did you mean --n-trials?"),
        (["run", "--n-trails=3", "--foo"], "run takes no --n-trails: did you mean --n-trials?"),
        (["lr-range", "--tsak", "digits"], "lr-range takes no --tsak: did you mean --task?"),
        (["run", "--zzz"], "run takes no --zzz (see batchfront run --help)"),
        (["run", "digits"], "run takes no 'digits' (see batchfront run --help)"),
        (["advise", "--confirm", "5"], "advise takes no --confirm: it belongs to run"),
        (
            ["run", "--n-trials", "three"],
            "n_trials is 'three', wanted a whole number of at least 1, or auto",
        ),
        (["run", "--n-trials", "0"], "n_trials is 0"),
        (["run", "--n-trials", "-3"], "n_trials is -3"),
        (["run", "--epochs", "0"], "epochs is 0"),
        (["run", "--sampler", "tpee"], "did you mean 'tpe'"),
        (["run", "--task", "digit"], "did you mean 'digits'"),
        (["run", "--task", "nowhere.py"], "'nowhere.py' is not there"),
        (["run", "--task", "planted.py:nothing"], "planted.py has no 'nothing'"),
        (["run", "--batch-sizes", "64:8"], "LOW at most HIGH"),
        (
            ["run", "--batch-sizes", "2048:4096"],
            "fit the data of the task: wanted at most 1079",
        ),
        (["run", "--learning-rates=-1:1"], "finite rates above 0"),
        (["run", "--device", "cuda:7"], "device 'cuda:7' is not there: this machine has cpu"),
        (["run", "--device", "toaster"], "device 'toaster' is not there"),
        (["run", "--config", "none.toml"], "cannot read the config file none.toml"),
        ([*TASK, "--storage", "mongodb://x/y"], "unknown kind 'mongodb'"),
        ([*TASK, "--storage", "nonsense"], "is not a URL"),
        ([*TASK, "--storage", "sqlite://"], "cannot be resumed or shared"),
        (["front"], "there is no database"),
        (["ls", "--storage", "sqlite:///none.db"], "there is no database"),
        (["dashboard"], "there is no database"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(workdir, capsys, argv, said):
    assert said in _error(capsys, *argv)
    assert {p.name for p in workdir.iterdir()} <= {"planted.py", "__pycache__"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('boom')", "fails on import: RuntimeError: boom"),
        ("def task(:", "fails on import: SyntaxError"),
        ("task = 3", "is int, wanted a Task"),
        ("def task(): return 3", "is int, wanted a Task"),
        ("def task(): raise RuntimeError('boom')", "RuntimeError: boom"),
        ("def task(a, b, c): pass", "wanted a Task"),
        ("", "defines nothing"),
    ],
)
def test_a_bad_task_file_is_one_line(write_task, workdir, capsys, text, said):
    assert said in _error(capsys, "run", "--task", write_task(text))
    assert not (workdir / "runs").exists()


def test_damaged_and_foreign_databases_are_refused_and_left_alone(workdir, capsys):
    text = workdir / "text.db"
    text.write_text("this is no database, " * 100)
    other = workdir / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    for path, said in ((text, "cannot be read as an SQLite"), (other, "of something else")):
        before = path.read_bytes()
        for verb in (TASK, ("front",), ("ls",), ("dashboard",)):
            assert said in _error(capsys, *verb, "--storage", f"sqlite:///{path}")
        assert path.read_bytes() == before


def test_a_damaged_page_is_one_line_too(workdir, capsys):
    assert main([*TASK]) == 0
    capsys.readouterr()
    path = Path("runs/batchfront.db")
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    assert "error: " in _error(capsys, "front")


def test_verbs_want_a_name_when_there_are_several_studies(workdir, capsys):
    for name in ("a", "b"):
        assert main([*TASK, "--study-name", name]) == 0
    capsys.readouterr()
    assert "there are 'a', 'b': choose with --study-name" in _error(capsys, "front")
    assert "there is no study 'c': there are 'a', 'b'" in _error(
        capsys, "front", "--study-name", "c"
    )


def test_a_report_that_cannot_be_written_is_one_line(workdir, capsys):
    assert main([*TASK]) == 0
    capsys.readouterr()
    assert "cannot write" in _error(capsys, "report", "-o", "planted.py/x.html")


def test_a_port_that_is_taken_is_one_line(workdir, capsys):
    import socket

    assert main([*TASK]) == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        capsys.readouterr()
        assert main(["dashboard", "--port", port]) == 2
    assert f"cannot serve on 127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["ls"], ["run", "--task", "digits"], ["dashboard"], ["serve"]])
def test_a_folder_that_was_deleted_is_said_in_one_line(workdir, monkeypatch, capsys, argv):
    gone = workdir / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the folder that you are in was deleted" in _error(capsys, *argv)
    with pytest.raises(StudyError, match="was deleted"):
        bf.Study("digits")
