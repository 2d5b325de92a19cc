"""A password that was typed where `ps` shows it is told of in one line, without the password."""

from __future__ import annotations

import pytest

from batchfront.storage.names import holds_password
from batchfront.study.cli.main import main

SECRET = "hunter2"
WITH = f"grpc://me:{SECRET}@host"  # refused at once: nobody is asked
WITHOUT = "sqlite:///absent.db"


@pytest.fixture(autouse=True)
def _elsewhere(workdir, monkeypatch):
    monkeypatch.delenv("BATCHFRONT_TYPED", raising=False)


def _warnings(capsys, *argv: str) -> list[str]:
    assert main(argv) == 2
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    return [line for line in said.err.splitlines() if line.startswith("warning: ")]


@pytest.mark.parametrize(
    "argv",
    [
        ("run", "--task", "planted.py", "--storage", WITH),
        ("run", "--task", "planted.py", f"--storage={WITH}"),
        ("front", "--storage", WITH),
        ("dashboard", "--storage", WITH),
        ("serve", "--storage", WITH),
        ("smallest", "--target", "0.9", "--task", "planted.py", "--storage", WITH),
        ("probe", "--task", "planted.py", "--storage", WITH),
    ],
)
def test_a_typed_password_is_told_of(capsys, argv):
    (warning,) = _warnings(capsys, *argv)
    assert "--storage" in warning
    assert warning.endswith("set it in the environment instead, BATCHFRONT_STORAGE")


def test_both_ends_of_a_copy_are_told_of_in_one_line(capsys):
    (warning,) = _warnings(capsys, "copy", "--from", WITH, "--to", WITH)
    assert "--from and --to" in warning
    assert warning.endswith("BATCHFRONT_FROM and BATCHFRONT_TO")
    (warning,) = _warnings(capsys, "copy", "--from", WITHOUT, "--to", WITH)
    assert "--from" not in warning


def test_what_is_no_password_or_not_typed_is_not_told_of(capsys, monkeypatch):
    assert _warnings(capsys, "front", "--storage", WITHOUT) == []
    assert _warnings(capsys, "front", "--storage", "grpc://me@host/nothing") == []
    monkeypatch.setenv("BATCHFRONT_STORAGE", WITH)
    assert _warnings(capsys, "front") == []


def test_what_make_was_given_is_told_of_by_its_name_there(capsys, monkeypatch):
    monkeypatch.setenv("BATCHFRONT_STORAGE", WITH)
    monkeypatch.setenv("BATCHFRONT_TYPED", "STORAGE FROM OTHER")
    (warning,) = _warnings(capsys, "front")
    assert "the password after STORAGE= in `ps`" in warning


@pytest.mark.parametrize(
    ("url", "holds"),
    [
        ("postgresql://me:pw@host/db", True),
        ("postgresql://me@host/db", False),
        ("postgresql://me:@host/db", False),
        ("postgresql://host:5432/db?sslmode=require", False),
        ("postgresql://host/db?password=pw", True),
        ("postgresql://host/db?password=pw&password=pw", True),
        ("postgresql://me:p@w@host/db", True),
        ("postgresql://me:pw@host:port/db", True),  # the port is no number
        ("me:pw@host/db", True),
        ("nonsense", False),
        ("sqlite:////data/a@b.db", False),
        ("", False),
    ],
)
def test_a_url_with_a_password_is_told_from_one_without(url, holds):
    assert holds_password(url) == holds
