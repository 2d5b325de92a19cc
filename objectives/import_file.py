"""Imports a file of the user's own by its path."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.raised import Halted, words_of

FORMER = ("study", "objectives", "storage")  # as our packages were imported up to version 0.7


def import_file(path: Path) -> ModuleType:
    """Import by path; the folder goes to the end of sys.path, so that neighbours can be imported.

    Registered under the file's own name where that finds this very file, so that DataLoader
    workers in fresh interpreters can import it too; under a private name otherwise.
    """
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
    except Halted:
        del sys.modules[name]
        raise
    except BaseException as error:  # user code may raise anything
        del sys.modules[name]
        said = _former_import(error, path) or words_of(error)
        raise ObjectiveError(f"task file {path.name!r} fails on import: {said}") from error
    return module


def _module_name(path: Path) -> str:
    try:
        found = importlib.util.find_spec(path.stem)
    except (ValueError, ImportError):
        found = None
    if found is not None and found.origin is not None and Path(found.origin) == path:
        return path.stem
    return "batchfront_task_" + hashlib.sha256(str(path).encode()).hexdigest()[:12]


def _former_import(error: BaseException, path: Path) -> str | None:
    """What to write in place of an import of version 0.7; None where it is something else."""
    name = ((isinstance(error, ImportError) and error.name) or "").partition(".")[0]
    own = (path.parent / name).is_dir() or (path.parent / f"{name}.py").is_file()
    if name not in FORMER or own:
        return None
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == name:
            names = ", ".join(alias.name for alias in node.names)
            return (
                f"line {node.lineno}: `from {node.module} import {names}` "
                f"is now `from batchfront import {names}`"
            )
    return f"{name!r} is now a part of batchfront: `from batchfront import Task`"
