"""The Python of the pages about joining runs as it stands there."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path

import pytest

import batchfront as bf
from batchfront.study.cli.main import parser

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def _blocks(page: str, language: str = "python") -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found, page
    return found


PAGES = ("python.md", "lightning.md", "transformers.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_names_what_there_is(page):
    """Modules that a library of their own has are looked into where it is installed."""
    for block in _blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id == "bf" and node.attr not in PAGES_OF_PACKAGES:
                    assert node.attr in bf.__all__
            elif isinstance(node, ast.Call):
                _check_arguments(node)


PAGES_OF_PACKAGES = ("lightning", "transformers")


def _check_arguments(call: ast.Call) -> None:
    """The names of the arguments of ours are those that it takes."""
    said = ast.unparse(call.func)
    package = said.removeprefix("bf.").partition(".")[0]
    if not re.fullmatch(r"bf(\.\w+)+", said) or (
        package in PAGES_OF_PACKAGES and find_spec(package) is None
    ):
        return
    function = attrgetter(said.removeprefix("bf."))(bf)
    taken = inspect.signature(function).parameters
    assert {keyword.arg for keyword in call.keywords} <= set(taken), said


@pytest.mark.parametrize("page", ["optuna.md", "lightning.md", "transformers.md", "import.md"])
def test_the_commands_of_a_page_are_understood(page):
    for block in _blocks(page, "sh"):
        for line in block.splitlines():
            words = shlex.split(line.partition("  #")[0])
            parser().parse_args(words[1:])


@pytest.mark.slow
def test_the_script_of_the_page_about_python_runs(tmp_path):
    script = _blocks("python.md")[0].replace("n_trials=30", "n_trials=6, epochs=2")
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Train with batch size" in done.stderr
    assert "plotly" in (tmp_path / "page.html").read_text()
    assert (tmp_path / "runs" / "mine.db").exists()
