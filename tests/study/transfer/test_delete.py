"""Deleting a study: with its checkpoints, without those of others, and never without a word."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from batchfront.study.cli.main import main

from ..noted import INTERRUPTED, noted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["sqlite:///lies/here.db", "journal:///lies/here.log"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(url: str, write_task):
    """Runs the study of a name; at first it is interrupted, and its checkpoint stays."""
    task = write_task(noted(before=INTERRUPTED))

    def run(name: str) -> int:
        where = ["--study-name", name, "--storage", url]
        few = ["--epochs", "5", "--n-trials", "1", "--batch-sizes", "4", "--sampler", "random"]
        return main(["run", "--task", task, *few, *where])

    return run


def files() -> set[Path]:
    return set(Path("lies/checkpoints").iterdir())


def test_a_deleted_study_takes_its_checkpoints_along_and_leaves_those_of_others(
    workdir, run, rows, url, capsys
):
    assert run("one") == 130
    (first,) = files()
    Path(f"{first}.half.new").write_bytes(b"of a writer that died")
    assert run("two") == 130
    assert len(files()) == 3
    listed = {row["study_name"]: row for row in rows("ls", "--storage", url)}
    assert listed["one"]["checkpoint_bytes"] == sum(
        path.stat().st_size for path in files() if path.name.startswith(first.stem)
    )
    assert listed["one"]["checkpoint_bytes"] > listed["two"]["checkpoint_bytes"] > 1000
    assert main(["delete", "--study-name", "one", "--storage", url, "--yes"]) == 0
    said = capsys.readouterr().err
    assert f"study 'one' in {url}: 2 trials and 2 files of " in said
    assert [row["study_name"] for row in rows("ls", "--storage", url)] == ["two"]
    (second,) = files()
    assert second not in (first, Path(f"{first}.half.new"))
    Path("again").touch()
    Path("trained").unlink()
    assert run("two") == 0
    assert Path("trained").read_text().split() == ["3", "4"]  # its checkpoint was left alone
    assert run("one") == 0  # as new


@pytest.mark.parametrize("url", ["sqlite:///lies/here.db"])
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_it_asks_on_a_terminal_and_takes_only_yes_for_yes(
    workdir, recorded, monkeypatch, rows, capsys, answer, code, url
):
    recorded(workdir, "run", "--task", "planted.py", "--epochs", "1", "--n-trials", "1")
    name = rows("ls")[0]["study_name"]
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["delete", "--study-name", name]) == code
    err = capsys.readouterr().err
    assert "1 trial will be deleted" in err
    assert f"delete {name!r} for good? [y/N]" in err
    assert len(rows("ls")) == code


def test_nobody_to_ask_is_an_error_and_nothing_goes(workdir, recorded, monkeypatch, rows, capsys):
    recorded(workdir, "run", "--task", "planted.py", "--epochs", "1", "--n-trials", "1")
    name = rows("ls")[0]["study_name"]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["delete", "--study-name", name]) == 2
    assert "nothing was deleted: pass --yes" in capsys.readouterr().err
    assert main(["delete", "--study-name", "another", "--yes"]) == 2
    assert "there is no study 'another'" in capsys.readouterr().err
    assert main(["delete", "--study-name", name, "--yes", "--storage", "sqlite:///absent.db"]) == 2
    assert not Path("absent.db").exists()
    assert len(rows("ls")) == 1


def test_ls_says_what_the_files_of_a_storage_take(workdir, recorded, rows, capsys):
    recorded(workdir, "run", "--task", "planted.py", "--epochs", "1", "--n-trials", "1")
    (row,) = rows("ls")
    taken = sum(path.stat().st_size for path in Path("runs").glob("batchfront.db*"))
    assert (row["storage_bytes"], row["checkpoint_bytes"]) == (taken, 0)
    assert main(["ls"]) == 0
    assert "all studies together take" in capsys.readouterr().out
