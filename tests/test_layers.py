"""The floors of the house: no import runs back up, and no circle of any kind.

Rooms are the folders and files directly inside `study/`, `objectives/` and `storage/`; docs in
docs/architecture.md. Every import counts: at the top of a file, inside a function, for types alone.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = "batchfront."
FLOORS = {  # from the roof down; rooms of one floor do not know each other
    "study": [
        {"__main__"},
        {"cli"},
        {"api"},
        {"transfer", "on_ray", "smallest"},
        {"session"},
        {"workers"},
        {"opening"},
        {"probes"},
        {"findings"},
        {"answer"},
        {"search"},
        {"pruning"},
        {"plan"},
        {"machine", "trials"},
        {"show", "commands"},
        {"quiet", "errors"},
    ],
    "objectives": [
        {"load"},
        {"spec"},
        {"adapters", "fused", "probes", "ranks", "scripts"},
        {"training"},
        {"curves", "gradients", "objective", "tasks"},
        {"run", "task"},
        {"resumable", "stepping"},
        {"constant", "latched", "loading", "meters", "remarks"},
        {"datasets", "device", "frames", "import_file", "loss", "metric", "parameter", "source"},
        {"measurement"},
        {"files", "length", "number", "raised"},
    ],
    "storage": [
        {"open", "proxy_server"},
        {"journal", "proxy", "server", "sqlite"},
        {"rdb", "glance"},
        {"shared", "tables", "patience", "names", "locks", "checkpoint", "sqlite_file"},
        {"fence", "files", "garbage", "plain", "schema", "watch"},
        {"errors"},
    ],
}


def _modules() -> dict[str, Path]:
    found = {}
    for package in FLOORS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(found) > 100
    return found


def _targets(node: ast.AST, modules: dict[str, Path]) -> set[str]:
    """The modules of ours that an import statement names."""
    if isinstance(node, ast.Import):
        return {alias.name.removeprefix(OURS) for alias in node.names} & set(modules)
    if not isinstance(node, ast.ImportFrom) or node.module is None:
        return set()
    home = node.module.removeprefix(OURS)
    full = [f"{home}.{alias.name}".removeprefix(OURS) for alias in node.names]
    return {name if name in modules else home for name in full} & set(modules)


@cache
def _arrows() -> dict[str, dict[str, int]]:
    """Module -> the modules it imports, with a line that does."""
    modules = _modules()
    return {
        name: {
            target: node.lineno
            for node in ast.walk(ast.parse(path.read_text()))
            for target in _targets(node, modules)
        }
        for name, path in modules.items()
    }


def _room(module: str) -> tuple[str, str]:
    package, *rest = module.split(".")
    return package, rest[0] if rest else ""


def _floor(module: str) -> int:
    package, room = _room(module)
    found = [n for n, rooms in enumerate(FLOORS[package]) if room in rooms]
    assert found, f"{module} is in no room that tests/test_layers.py knows: give it a floor"
    return found[0]


@pytest.mark.parametrize("package", FLOORS)
def test_no_import_runs_to_a_room_of_the_same_floor_or_above(package):
    wrong = [
        f"{here}:{line} imports {there}"
        for here, targets in _arrows().items()
        for there, line in targets.items()
        if _room(here)[0] == _room(there)[0] == package and _room(here) != _room(there)
        if _room(here)[1] and _floor(there) <= _floor(here)
    ]
    assert wrong == []


def test_every_room_is_there_and_every_file_is_in_one():
    rooms = {_room(module) for module in _modules() if "." in module}
    assert rooms == {(top, room) for top, rows in FLOORS.items() for row in rows for room in row}
    assert sum(map(len, _arrows().values())) > 500


def test_no_circle_of_imports_is_there():
    try:
        list(TopologicalSorter(_arrows()).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")
