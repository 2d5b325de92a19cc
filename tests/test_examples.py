"""The worked examples run."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.parametrize("name", ["wine", "own_loop"])
def test_an_example_fills_a_study(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["run", "--task", str(EXAMPLES / f"{name}.py"), "--batch-sizes", "16:64"]
    assert main([*argv, "--epochs", "5", "--n-trials", "6", "--learning-rates", "0.01:0.1"]) == 0
    trials = the_study("sqlite:///runs/batchfront.db", None).trials
    assert [t.state.name for t in trials] == ["COMPLETE"] * 6
    assert max(t.values[0] for t in trials) > 0.9


def test_every_example_has_a_test():
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {"wine", "own_loop"}
