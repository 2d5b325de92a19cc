"""Finds an objective by name: a bundled task, or `path/to/mine.py:name`."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from objectives.import_file import import_file
from objectives.measurement import ObjectiveError, TrialParams
from objectives.parameter import Parameter, check_search
from objectives.recipe import PLAIN, Recipe, only_plain
from objectives.run import Run
from objectives.task import DEFAULT_EPOCHS, Task

BUNDLED = {  # name: module and factory
    "digits": ("objectives.tasks.digits", "digits"),
    "digits-cnn": ("objectives.tasks.digits", "digits_cnn"),
    "diabetes": ("objectives.tasks.diabetes", "diabetes"),
}
Made = TypeVar("Made")
TABLES = (".csv", ".csv.gz")  # recorded training curves
DEFAULT_NAMES = ("task", "objective")  # looked for when only a file is given


class Objective(Protocol):
    """Anything that trains once per call and reports to the run."""

    @property
    def name(self) -> str:
        """As stored with the study."""

    @property
    def metric(self) -> str:
        """val_accuracy or val_r2."""

    @property
    def default_epochs(self) -> int:
        """Used when nobody asks for another number."""

    @property
    def max_epochs(self) -> int | None:
        """That it can train for; None without a limit."""

    @property
    def batch_sizes(self) -> tuple[int, int | None]:
        """The smallest and the largest it can train with; None when the latter is unknown."""

    @property
    def search(self) -> Mapping[str, Parameter]:
        """What it lets the search vary besides batch size and learning rate."""

    @property
    def compiled(self) -> bool:
        """Whether its training steps are compiled graphs."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before the search."""

    @property
    def fingerprint(self) -> dict[str, str]:
        """What must not change within a study."""

    def predict_peak_bytes(self, batch_size: int) -> int | None:
        """Peak memory without running it; None where no prediction can be trusted."""

    def __call__(self, params: TrialParams, run: Run) -> None: ...


@dataclass(frozen=True, kw_only=True)
class CustomLoop:
    """Your own training loop, with what a bare function cannot say about itself."""

    function: Callable[[TrialParams, Run], None]
    metric: str = "val_accuracy"  # or "val_r2"
    default_epochs: int = DEFAULT_EPOCHS
    n_train: int | None = None
    max_epochs: int | None = field(default=None, init=False)
    search: Mapping[str, Parameter] = field(default_factory=dict)  # found in params.extra
    name: str = ""  # given by the loader
    fingerprint: dict[str, str] = field(default_factory=dict)
    compiled: bool = field(default=False, init=False)  # by us
    notes: tuple[str, ...] = field(default=(), init=False)

    @property
    def batch_sizes(self) -> tuple[int, int | None]:
        """Up to the training examples, where they are known."""
        return 1, self.n_train

    def __call__(self, params: TrialParams, run: Run) -> None:
        from objectives.randomness import seed_everything

        seed_everything(params.seed)
        self.function(params, run)

    def predict_peak_bytes(self, batch_size: int) -> None:
        """A loop of your own cannot be predicted, only probed."""


def load_objective(
    spec: str, *, device: str, compiled: bool = False, recipe: Recipe = PLAIN
) -> Objective:
    """The objective that `spec` names, ready to train on `device`; its step compiled if asked for.

    Raises:
        ObjectiveError: unknown name, missing file or name, failing import, wrong type, bad data,
            a step that must not be compiled.
    """
    if spec in BUNDLED:
        home, factory = BUNDLED[spec]
        found = getattr(import_module(home), factory)
        return _prepare(found, name=spec, device=device, compiled=compiled, recipe=recipe)
    if spec.endswith(TABLES):
        only_plain(recipe, f"{spec} is played back")
        return _replay(spec, compiled=compiled)
    name, found = _own(spec)
    return _prepare(found, name=name, device=device, compiled=compiled, recipe=recipe)


def task_name(spec: str) -> str:
    """The name of `load_objective(spec)`; also names it from within the folder of its file.

    Raises:
        ObjectiveError: unknown name, missing file or name, failing import.
    """
    if spec in BUNDLED:
        return spec
    return _table(spec).name if spec.endswith(TABLES) else _own(spec)[0]


def task_file(spec: str) -> Path | None:
    """The file of a task of your own; None for a bundled one.

    Raises:
        ObjectiveError: unknown name, missing file.
    """
    if spec in BUNDLED:
        return None
    return _table(spec) if spec.endswith(TABLES) else _split(spec)[0]


def _own(spec: str) -> tuple[str, Any]:
    path, name = _split(spec)
    name, found = _find(import_file(path), name, path)
    return f"{path.name}:{name}", found


def _replay(spec: str, *, compiled: bool) -> Objective:
    from objectives.replay import load_replay

    path = _table(spec)
    if compiled:
        raise ObjectiveError(f"{spec} is played back, nothing is trained: run without --compile")
    return load_replay(path)


def _table(spec: str) -> Path:
    if not Path(spec).is_file():
        raise ObjectiveError(f"table {spec!r} is not there (looked from {Path.cwd()})")
    return Path(spec).resolve()


def _split(spec: str) -> tuple[Path, str]:
    path, colon, name = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        path, name = spec, ""
    if not path.endswith(".py"):
        near = get_close_matches(spec, BUNDLED, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ObjectiveError(
            f"unknown task {spec!r}: {hint}bundled are {', '.join(BUNDLED)}; "
            "your own is path/to/mine.py or path/to/mine.py:name, recorded curves path/to/table.csv"
        )
    if not Path(path).is_file():
        raise ObjectiveError(f"task file {path!r} is not there (looked from {Path.cwd()})")
    return Path(path).resolve(), name


def _find(module: ModuleType, name: str, path: Path) -> tuple[str, Any]:
    for candidate in [name] if name else DEFAULT_NAMES:
        if hasattr(module, candidate):
            return candidate, getattr(module, candidate)
    wanted = repr(name) if name else " or ".join(map(repr, DEFAULT_NAMES))
    public = [key for key in vars(module) if not key.startswith("_")]
    raise ObjectiveError(
        f"{path.name} has no {wanted}; it defines {', '.join(public) or 'nothing'}"
    )


def _prepare(found: Any, *, name: str, device: str, compiled: bool, recipe: Recipe) -> Objective:
    from objectives.train import TaskObjective

    if callable(found) and not isinstance(found, CustomLoop | Task):
        n_parameters = _n_positional(found)
        if n_parameters == 2:
            found = CustomLoop(function=found)
        elif n_parameters == 0:
            found = _guarded(found, name)
    if isinstance(found, Task):
        task = found
        return _guarded(
            lambda: TaskObjective(task, name=name, device=device, compiled=compiled, recipe=recipe),
            name,
        )
    if isinstance(found, CustomLoop):
        only_plain(recipe, f"{name} is a training loop of your own")
    if isinstance(found, CustomLoop) and compiled:
        raise ObjectiveError(
            f"{name} is a training loop of your own, and --compile compiles the step of ours: "
            "compile inside your loop and run without --compile"
        )
    if isinstance(found, CustomLoop):
        return _named(found, name)
    raise ObjectiveError(
        f"{name} is {type(found).__name__}, wanted a Task, a function that returns one, or a "
        "function objective(params, run)"
    )


def _named(loop: CustomLoop, name: str) -> CustomLoop:
    """Checked, and with its source as what must not change within a study."""
    if loop.metric not in ("val_accuracy", "val_r2"):
        raise ObjectiveError(f"{name}: metric is {loop.metric!r}, wanted val_accuracy or val_r2")
    if loop.default_epochs < 1:
        raise ObjectiveError(f"{name}: default_epochs is {loop.default_epochs}, wanted at least 1")
    check_search(loop.search, task=name)
    digest = hashlib.sha256(_source_of(loop.function)).hexdigest()[:16]
    return replace(loop, name=name, fingerprint={**loop.fingerprint, "source": digest})


def _source_of(function: Any) -> bytes:
    """The file that defines a function, a partial of one, or an object that can be called."""
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function)
    try:
        source = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # compiled
        source = None
    return Path(source).read_bytes() if source else b""


def _guarded(make: Callable[[], Made], name: str) -> Made:
    try:
        return make()
    except ObjectiveError:
        raise
    except (Exception, SystemExit) as error:
        raise ObjectiveError(f"task {name!r} fails: {type(error).__name__}: {error}") from error


def _n_positional(function: Callable[..., Any]) -> int | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)
