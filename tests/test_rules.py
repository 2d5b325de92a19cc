"""Rules that hold the house together."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "study": set(),
    "objectives": {"study", "storage", "optuna"},
    "storage": {"study", "objectives", "torch"},
}


LAZILY = {"checkpoint.py": {"torch"}}  # inside functions: a dashboard's host needs no torch


def _imported(path: Path, *, everywhere: bool = True) -> set[str]:
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_each_package_imports_only_what_lies_below_it(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        lazily = LAZILY.get(path.name, set())
        assert not (_imported(path) - lazily) & FORBIDDEN[package], path
        assert not _imported(path, everywhere=False) & lazily, path


def test_generated_data_never_goes_into_a_package():
    assert "runs/" in (ROOT / ".gitignore").read_text().split()
    stray = [p for p in (ROOT / "storage").rglob("*") if p.suffix in {".db", ".log", ".csv"}]
    assert stray == []
