"""Imports a file of the user's own by its path."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from objectives.measurement import ObjectiveError

OURS = ("study", "objectives", "storage")


def import_file(path: Path) -> ModuleType:
    """Import by path; the folder goes to the end of sys.path, so that neighbours can be imported.

    Registered under the file's own name where that finds this very file, so that DataLoader
    workers in fresh interpreters can import it too; under a private name otherwise.
    """
    _refuse_shadows(path.parent)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = _module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ObjectiveError(f"task file {str(path)!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ObjectiveError(
            f"task file {path.name!r} fails on import: {type(error).__name__}: {error}"
        ) from error
    return module


def _module_name(path: Path) -> str:
    try:
        found = importlib.util.find_spec(path.stem)
    except (ValueError, ImportError):
        found = None
    if found is not None and found.origin is not None and Path(found.origin) == path:
        return path.stem
    return "batchfront_task_" + hashlib.sha256(str(path).encode()).hexdigest()[:12]


def _refuse_shadows(folder: Path) -> None:
    ours = Path(__file__).resolve().parent.parent
    for name in OURS:
        for neighbour in (folder / name, folder / f"{name}.py"):
            if folder != ours and (neighbour.suffix or neighbour.is_dir()) and neighbour.exists():
                raise ObjectiveError(
                    f"{neighbour} has the name of one of batchfront's own packages, so "
                    f"`import {name}` would not find it: rename it or move the task file elsewhere"
                )
