"""Finds an objective by name: a bundled task, `path/to/mine.py:name` or `text:path/to/file.txt`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from batchfront.objectives.datasets import DATA_DIR
from batchfront.objectives.device.names import devices_of, make_current
from batchfront.objectives.import_file import import_file
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.meters.early_stopping import ending_of
from batchfront.objectives.metric import AS_DECLARED, AskedMetric, Metric, as_metric
from batchfront.objectives.objective import CustomLoop, Objective
from batchfront.objectives.parameter import check_search
from batchfront.objectives.raised import Halted, words_of
from batchfront.objectives.ranks.members import FollowingRank, Leader, Member, follow
from batchfront.objectives.ranks.processes import Ranks, Seat, join
from batchfront.objectives.ranks.step import LockStep
from batchfront.objectives.scripts.discover import check_script
from batchfront.objectives.scripts.loop import ScriptLoop, script_loop
from batchfront.objectives.source import code_of
from batchfront.objectives.task import Task
from batchfront.objectives.tasks.bundled import BUNDLED, DOWNLOADED, NAMES, bundled
from batchfront.objectives.training.batches import EXACT, rule_in
from batchfront.objectives.training.recipe import PLAIN, Recipe, only_plain

if TYPE_CHECKING:
    from batchfront.objectives.training.objective import TaskObjective

Made = TypeVar("Made")
TABLES = (".csv", ".csv.gz")  # recorded training curves
TEXT = "text:"  # before the path of a text file
DEFAULT_NAMES = ("task", "objective")  # looked for when only a file is given


def load_objective(
    spec: str,
    *,
    device: str,
    compiled: bool = False,
    recipe: Recipe = PLAIN,
    batches: str = EXACT,
    data_dir: Path | None = None,
    rank: int = 0,
    asked: AskedMetric = AS_DECLARED,
    given: Any = None,
    names: Mapping[str, str] | None = None,
    script: str | None = None,
) -> Objective:
    """The objective that `spec` names, ready to train on `device`; its step compiled if asked for.

    `given`: the task or function itself, which `spec` is only the name of. Of a function that was
    written for Optuna, `names`: what it calls batch size and learning rate, by our names; `script`:
    what a run of it showed, which is not repeated.

    `batches`: the rule by which our own loop cuts them, of `training.batches.RULES`. `data_dir`
    keeps the data sets that are downloaded. `asked`: in place of what the
    task declares. Where the recipe has ranks, the one of rank 0 starts
    the others when they are needed.

    Raises:
        ObjectiveError: unknown name, missing file or name, failing import, wrong type, bad data,
            a download that failed, a step that must not be compiled.
    """
    if given is not None:
        name, found = spec, given
    elif _is_table(spec):
        only_plain(recipe, f"{spec} is played back")
        return _replay(spec, compiled=compiled, asked=asked)
    else:
        name, found = (spec, bundled(spec)) if spec in NAMES else _own(spec)
    data_dir = data_dir or Path(DATA_DIR)
    prepare = partial(
        _prepare,
        found,
        name=name,
        device=device,
        compiled=compiled,
        recipe=recipe,
        batches=batches,
        data_dir=data_dir,
        asked=asked,
        names=names or {},
        script=script,
    )
    objective: Any = _guarded(prepare, name)
    if recipe.data_parallel > 1 and rank == 0:
        _lead(objective, task=spec, device=device, data_dir=data_dir)
    return objective  # type: ignore[no-any-return]


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
    return _table(spec).name if _is_table(spec) else _own(spec)[0]


def task_file(spec: str) -> Path | None:
    """The file of a task of your own; None for a bundled one.

    Raises:
        ObjectiveError: unknown name, missing file.
    """
    if spec in NAMES:
        return None
    if spec.startswith(TEXT):
        return _text(spec)
    return _table(spec) if _is_table(spec) else _split(spec)[0]


def _own(spec: str) -> tuple[str, Any]:
    if spec.startswith(TEXT):
        from batchfront.objectives.tasks.text import text_task

        path = _text(spec)
        return TEXT + path.name, partial(text_task, path)
    path, name = _split(spec)
    check_script(path)
    module = import_file(path)
    name, found = _guarded(lambda: _find(module, name, path), path.name)
    return f"{path.name}:{name}", found


def _replay(spec: str, *, compiled: bool, asked: AskedMetric) -> Objective:
    from batchfront.objectives.curves.replay import load_replay

    path = _table(spec)
    if compiled:
        raise ObjectiveError(f"{spec} is played back, nothing is trained: run without --compile")
    return load_replay(path, asked)


def _text(spec: str) -> Path:
    path = Path(spec.removeprefix(TEXT))
    if not path.is_file():
        raise ObjectiveError(f"text {str(path)!r} is not there (looked from {Path.cwd()})")
    return path.resolve()


def _is_table(spec: str) -> bool:
    return spec.endswith(TABLES) and not spec.startswith(TEXT)


def _table(spec: str) -> Path:
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
            f"used {', '.join(DOWNLOADED)}; your own is path/to/mine.py or path/to/mine.py:name, a "
            "text text:path/to/file.txt, recorded curves path/to/table.csv"
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


def _prepare(
    found: Any,
    *,
    name: str,
    device: str,
    compiled: bool,
    recipe: Recipe,
    batches: str,
    data_dir: Path,
    asked: AskedMetric,
    names: Mapping[str, str],
    script: str | None,
) -> Objective:
    from batchfront.objectives.training.objective import TaskObjective

    make_current(device)
    if callable(found) and not isinstance(found, CustomLoop | Task):
        n_parameters = _n_positional(found)
        if n_parameters == 2:
            found = CustomLoop(function=found)
        elif n_parameters == 1:
            found = script_loop(found, name=name, names=names, asked=asked, known=script)
        elif n_parameters == 0:
            keeps = {"data_dir": data_dir} if _takes(found, "data_dir") else {}
            found = found(**keeps)
    if names and not isinstance(found, ScriptLoop):
        raise ObjectiveError(
            f"--param is for a function objective(trial), and {name} is none: its parameters have "
            "our names"
        )
    if isinstance(found, Task):
        return TaskObjective(
            replace(found, metric=asked.of(found.metric) or found.metric),
            name=name,
            device=device,
            compiled=compiled,
            recipe=recipe,
            batches=batches,
        )
    if isinstance(found, CustomLoop):
        only_plain(recipe, f"{name} is a training loop of your own")
    if isinstance(found, CustomLoop) and compiled:
        raise ObjectiveError(
            f"{name} is a training loop of your own, and --compile compiles the step of ours: "
            "compile inside your loop and run without --compile"
        )
    if isinstance(found, CustomLoop):
        named = isinstance(found, ScriptLoop)
        return _named(found if named else replace(found, metric=asked.of(found.metric)), name)
    raise ObjectiveError(
        f"{name} is {type(found).__name__}, wanted a Task, a function that returns one, or a "
        "function objective(params, run), or objective(trial)"
    )


def _named(loop: CustomLoop, name: str) -> CustomLoop:
    """Checked, and with its source as what must not change within a study."""
    metric = _metric_of(loop, name)
    if loop.default_epochs < 1:
        raise ObjectiveError(f"{name}: default_epochs is {loop.default_epochs}, wanted at least 1")
    ending_of(loop).check()
    check_search(loop.search, task=name)
    digest, behaviour = code_of(loop.function)
    fingerprint = {**loop.fingerprint, "source": digest}
    return replace(loop, name=name, metric=metric, fingerprint=fingerprint, behaviour=behaviour)


def _metric_of(loop: CustomLoop, name: str) -> Metric:
    try:
        return as_metric(loop.metric)
    except ObjectiveError as error:
        raise ObjectiveError(f"{name}: {error}") from None


def _guarded(make: Callable[[], Made], name: str) -> Made:
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


def _takes(function: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(function).parameters


def _n_positional(function: Callable[..., Any]) -> int | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)


def _lead(objective: TaskObjective, *, task: str, device: str, data_dir: Path) -> None:
    """Make this process rank 0 of an objective's runs; the others start when they are needed.

    Raises:
        ObjectiveError: there cannot be so many.
    """
    recipe, n_train = objective.recipe, objective.batch_sizes[1] or 0
    if n_train < objective.batch_sizes[0]:
        raise ObjectiveError(
            f"--data-parallel {recipe.data_parallel} is too many for the {n_train} training "
            "examples of the task: choose fewer ranks"
        )
    ranks = Ranks(
        task=task,
        data_dir=data_dir,
        devices=devices_of(device, recipe.data_parallel),
        recipe=recipe,
        fingerprint=objective.fingerprint,
        follow=follow_rank_0,
    )
    _train_as(Leader(recipe, ranks), objective)


def follow_rank_0(seat: Seat, pipe: Connection) -> None:
    """Be another rank, in a process of its own: load the task and train whatever rank 0 trains."""
    import torch

    torch.set_num_threads(1)
    objective: Any = load_objective(
        seat.task,
        device=seat.device,
        recipe=seat.recipe,
        batches=rule_in(seat.fingerprint),
        data_dir=seat.data_dir,
        rank=seat.rank,
    )
    if objective.fingerprint != seat.fingerprint:
        raise ObjectiveError("the task loads differently each time: seed its data")
    pipe.send("loaded")
    pipe.recv()
    join(seat.rank, seat.n_ranks, device=seat.device, folder=seat.folder)
    _train_as(FollowingRank(seat.rank, seat.recipe, pipe), objective)
    follow(objective, pipe, device=seat.device)


def _train_as(member: Member, objective: TaskObjective) -> None:
    step = partial(LockStep, member=member, some_unused=objective.some_unused)
    objective.train_in_ranks(member, step)
