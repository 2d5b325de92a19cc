"""What may stand after --task: `path/to/mine.py:name`, `text:path/to/file.txt`, a bundled name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from batchfront.objectives.import_file import import_file
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.raised import Halted, words_of
from batchfront.objectives.scripts.discover import check_script
from batchfront.objectives.tasks.bundled import BUNDLED, DOWNLOADED, NAMES

Made = TypeVar("Made")
TABLES = (".csv", ".csv.gz")  # recorded training curves
TEXT = "text:"  # before the path of a text file
DEFAULT_NAMES = ("task", "objective")  # looked for when only a file is given


def name_of(given: Any) -> str:
    """What a task or function that was handed over is called."""
    if isinstance(given, CustomLoop):
        return name_of(given.function)
    while isinstance(given, partial):
        given = given.func
    return str(getattr(given, "name", None) or getattr(given, "__name__", None) or "task")


def task_name(spec: str) -> str:
    """The name of `load_objective(spec)`; also names it from within the folder of its file.

    Raises:
        ObjectiveError: unknown name, missing file or name, failing import.
    """
    if spec in NAMES:
        return spec
    return table_file(spec).name if is_table(spec) else own_object(spec)[0]


def task_file(spec: str) -> Path | None:
    """The file of a task of your own; None for a bundled one.

    Raises:
        ObjectiveError: unknown name, missing file.
    """
    if spec in NAMES:
        return None
    if spec.startswith(TEXT):
        return text_file(spec)
    return table_file(spec) if is_table(spec) else _split(spec)[0]


def own_object(spec: str) -> tuple[str, Any]:
    if spec.startswith(TEXT):
        from batchfront.objectives.tasks.text import text_task

        path = text_file(spec)
        return TEXT + path.name, partial(text_task, path)
    path, name = _split(spec)
    check_script(path)
    module = import_file(path)
    name, found = guarded(lambda: _find(module, name, path), path.name)
    return f"{path.name}:{name}", found


def text_file(spec: str) -> Path:
    path = Path(spec.removeprefix(TEXT))
    if not path.is_file():
        raise ObjectiveError(f"text {str(path)!r} is not there (looked from {Path.cwd()})")
    return path.resolve()


def is_table(spec: str) -> bool:
    return spec.endswith(TABLES) and not spec.startswith(TEXT)


def table_file(spec: str) -> Path:
    if not Path(spec).is_file():
        raise ObjectiveError(f"table {spec!r} is not there (looked from {Path.cwd()})")
    return Path(spec).resolve()


def _split(spec: str) -> tuple[Path, str]:
    path, colon, name = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        path, name = spec, ""
    if not path.endswith(".py"):
        near = get_close_matches(spec, NAMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ObjectiveError(
            f"unknown task {spec!r}: {hint}bundled are {', '.join(BUNDLED)}; downloaded when first "
            f"used {', '.join(_families(DOWNLOADED))}; your own is mine.py or mine.py:name, a text "
            "text:file.txt, recorded curves table.csv"
        )
    if not Path(path).is_file():
        raise ObjectiveError(f"task file {path!r} is not there (looked from {Path.cwd()})")
    return Path(path).resolve(), name


def _families(names: Iterable[str]) -> list[str]:
    """`mnist[-cnn|-resnet]`: names that begin with another one, with it."""
    found: dict[str, list[str]] = {}
    for name in names:
        base = next((one for one in found if name.startswith(f"{one}-")), name)
        found.setdefault(base, []).extend([name.removeprefix(base)] if name != base else [])
    return [f"{base}[{'|'.join(more)}]" if more else base for base, more in found.items()]


def _find(module: ModuleType, name: str, path: Path) -> tuple[str, Any]:
    for candidate in [name] if name else DEFAULT_NAMES:
        if hasattr(module, candidate):
            return candidate, getattr(module, candidate)
    wanted = repr(name) if name else " or ".join(map(repr, DEFAULT_NAMES))
    public = [key for key in vars(module) if not key.startswith("_")]
    raise ObjectiveError(
        f"{path.name} has no {wanted}; it defines {', '.join(public) or 'nothing'}"
    )


def guarded(make: Callable[[], Made], name: str) -> Made:
    try:
        return make()
    except (ObjectiveError, Halted):
        raise
    except BaseException as error:  # user code may raise anything
        said = f"{words_of(error)}{_place_of(error)}"
        raise ObjectiveError(f"task {name!r} fails: {said}") from error


def _place_of(error: BaseException) -> str:
    """Where in the user's own code it was raised, or what that called: `(mine.py line 12)`."""
    ours, found, frame = Path(__file__).resolve().parent, "", error.__traceback__
    while frame is not None:
        file = Path(frame.tb_frame.f_code.co_filename).resolve()
        if not file.is_relative_to(ours) and "site-packages" not in file.parts:
            found = f" ({file.name} line {frame.tb_lineno})"
        frame = frame.tb_next
    return found
