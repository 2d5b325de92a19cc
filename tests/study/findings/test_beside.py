"""`report --compare`: a second study beside the first."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from batchfront.study.cli.main import main
from batchfront.study.findings.page.theme import SIDES

DIGITS = ("run", "--task", "digits", "--epochs", "3", "--batch-sizes", "16:256", "--n-trials", "12")
OTHER = "<b>other"
PLANTED = ("run", "--task", "planted.py", "--epochs", "2", "--study-name", OTHER)


@pytest.fixture
def two(workdir, recorded) -> None:
    recorded(workdir, *DIGITS)
    assert main([*PLANTED, "--n-trials", "6", "--batch-sizes", "16:64"]) == 0


def _compared(capsys, other: str) -> str:
    capsys.readouterr()
    assert main(["report", "--study-name", "digits", "--compare", other, "-o", "p.html"]) == 0
    return Path("p.html").read_text()


def test_both_answers_are_said_and_the_panels_have_two_colours(two, capsys, rows):
    page = _compared(capsys, OTHER)
    answers = [rows("advise", "--study-name", name) for name in ("digits", OTHER)]
    for answer in answers:
        found = answer["recommended"]
        at = f"batch size {found['batch_size']} at learning rate {found['learning_rate']:.2g} "
        assert at in unescape(page)
    figures = map(json.loads, re.findall(r'"figure"><script type="application/json">(.*?)</', page))
    buys = next(figures)
    colours = {trace["line"]["color"] for trace in buys["data"] if trace["mode"] == "lines+markers"}
    assert colours == set(SIDES)
    assert [line["x0"] for line in buys["layout"]["shapes"]] == [
        answer["recommended"]["batch_size"] for answer in answers
    ]


def test_the_second_is_said_against_the_first(two, capsys, rows):
    page = unescape(_compared(capsys, OTHER))
    ours, theirs = (
        rows("advise", "--study-name", name)["recommended"] for name in ("digits", OTHER)
    )
    (said,) = re.findall(r"Against digits: val_accuracy (\S+) (higher|lower), (\S+) times", page)
    off = theirs["expected_metric"] - ours["expected_metric"]
    assert float(said[0]) == pytest.approx(abs(off), abs=6e-4)
    assert said[1] == ("higher" if off > 0 else "lower")
    share = theirs["train_seconds"] / ours["train_seconds"]
    assert float(said[2]) == pytest.approx(share, rel=0.05)


def test_the_name_of_the_second_is_escaped(two, capsys):
    assert OTHER not in _compared(capsys, OTHER)


def test_a_study_without_an_answer_is_said_to_have_none(two, capsys):
    none = ("run", "--task", "planted.py", "--study-name", "short", "--n-trials", "1")
    assert main([*none, "--batch-sizes", "64"]) == 0
    page = _compared(capsys, "short")
    assert "No recommendation yet: 1 run completed" in page
    assert "Against digits" not in page


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ("digits", "the study itself"),
        ("nowhere", "there is no study 'nowhere'"),
        ("r2", "is about val_r2 (maximize), 'digits' about val_accuracy"),
    ],
)
def test_what_cannot_be_compared_is_one_line(two, capsys, other, why):
    diabetes = ("run", "--task", "diabetes", "--study-name", "r2", "--n-trials", "1")
    assert main([*diabetes, "--epochs", "1", "--batch-sizes", "64"]) == 0
    capsys.readouterr()
    assert main(["report", "--study-name", "digits", "--compare", other]) == 2
    error = capsys.readouterr().err
    assert why in error
    assert error.count("\n") == 1
    assert not Path("runs/digits.html").exists()
