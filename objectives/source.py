"""What the code of a file says: its syntax tree, with that of the neighbours it imports."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any


def code_of(function: Any) -> tuple[str, dict[str, Any]]:
    """A digest of a function's text, and what tells its changed code from code that looks changed.

    Both are of its file and that file's neighbours. A function of a notebook, or of the script that
    runs, is told by its own lines alone: what else stands there starts the study.
    """
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function):  # an object that can be called
        function = type(function)
    file = _file_of(function)
    if function.__module__ != "__main__" and file is not None:
        return _of_bytes(file.read_bytes()), {"files": sources(file), "python": python_version()}
    try:
        text = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        digest = _digest(ast.parse(text))
    except (OSError, TypeError, SyntaxError):  # of no text that is kept
        return _of_bytes(b""), {}
    behaviour = {"files": {function.__qualname__: digest}, "python": python_version()}
    return _of_bytes(text.encode()), behaviour


def text_around(function: Any) -> str:
    """The text of the file that a function stands in, else its own; "" where none is kept."""
    file = _file_of(function)
    try:
        return file.read_text() if file else textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return ""


def _file_of(function: Any) -> Path | None:
    try:
        source = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # compiled
        source = None
    return Path(source).resolve() if source and Path(source).is_file() else None


def _of_bytes(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def sources(file: Path) -> dict[str, str]:
    """A digest of each file of the task's own folder tree that it imports, itself included.

    Comments, docstrings, blank lines and the place in the file do not count. Names are relative to
    the file's folder; what is imported inside functions counts, what a module computes does not.
    """
    folder, found = file.parent, dict[Path, str]()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        tree = ast.parse(path.read_bytes())
        found[path] = _digest(tree)
        waiting += [near for name in _imported(tree, path, folder) for near in _files(folder, name)]
    return {str(path.relative_to(folder)): found[path] for path in sorted(found)}


def python_version() -> str:
    """The version that syntax trees depend on."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _digest(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _imported(tree: ast.Module, path: Path, folder: Path) -> Iterator[str]:
    """Dotted names, relative ones made absolute from the folder."""
    package = path.relative_to(folder).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            near = package[: len(package) - node.level + 1] if node.level else ()
            home = ".".join([*near, *([node.module] if node.module else [])])
            yield home
            yield from (f"{home}.{alias.name}".lstrip(".") for alias in node.names)


def _files(folder: Path, name: str) -> Iterator[Path]:
    """The module of a dotted name and the packages around it, where they lie in the folder."""
    parts = [part for part in name.split(".") if part]
    for n in range(1, len(parts) + 1):
        here = folder.joinpath(*parts[:n])
        yield from (p for p in (here / "__init__.py", here.with_suffix(".py")) if p.is_file())
