"""Rules that hold the house together."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "study": set(),
    "objectives": {"batchfront.study", "batchfront.storage", "optuna"},
    "storage": {"batchfront.study", "batchfront.objectives", "torch"},
}
BARE = {"study", "objectives", "storage"}  # would be second copies of our modules

LAZILY = {  # inside functions: a dashboard's host needs no torch
    "checkpoint.py": {"torch"},
    "plain.py": {"torch"},
}


def _imported(path: Path, *, everywhere: bool = True) -> set[str]:
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {_package(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {_package(f"{node.module}.{alias.name}") for alias in node.names}
    return names


def _package(module: str) -> str:
    """`batchfront.study` of ours, of others the first name."""
    parts = module.split(".")
    return ".".join(parts[:2] if parts[0] == "batchfront" else parts[:1])


@pytest.mark.parametrize("package", FORBIDDEN)
def test_each_package_imports_only_what_lies_below_it(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        lazily = LAZILY.get(path.name, set())
        assert not (_imported(path) - lazily) & FORBIDDEN[package], path
        assert not _imported(path, everywhere=False) & lazily, path


@pytest.mark.parametrize(
    "folder", [*FORBIDDEN, "src/batchfront", "tests", "benchmarks", "examples"]
)
def test_ours_is_imported_by_its_full_name(folder):
    for path in (ROOT / folder).rglob("*.py"):
        assert not _imported(path) & BARE, path


def test_the_rules_see_what_they_forbid(tmp_path):
    file = tmp_path / "wrong.py"
    for line, found in {
        "from batchfront.study.cli import main": "batchfront.study",
        "from batchfront import study": "batchfront.study",
        "import batchfront.storage.open": "batchfront.storage",
        "def f():\n    from study import cli": "study",
        "import optuna.study": "optuna",
    }.items():
        file.write_text(line)
        assert _imported(file) == {found}


def test_generated_data_never_goes_into_a_package():
    assert "runs/" in (ROOT / ".gitignore").read_text().split()
    stray = [p for p in (ROOT / "storage").rglob("*") if p.suffix in {".db", ".log", ".csv"}]
    assert stray == []
