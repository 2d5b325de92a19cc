"""Finds an objective by name: a bundled task, `path/to/mine.py:name` or `text:path/to/file.txt`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.datasets import DATA_DIR
from batchfront.objectives.device.names import devices_of, make_current
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.meters.early_stopping import ending_of
from batchfront.objectives.metric import AS_DECLARED, AskedMetric, Metric, as_metric
from batchfront.objectives.objective import CustomLoop, Objective
from batchfront.objectives.parameter import check_search
from batchfront.objectives.ranks.following import FollowingRank, follow
from batchfront.objectives.ranks.leading import Leader
from batchfront.objectives.ranks.members import Member
from batchfront.objectives.ranks.processes import Ranks, Seat, join
from batchfront.objectives.ranks.step import LockStep
from batchfront.objectives.scripts.loop import ScriptLoop, script_loop
from batchfront.objectives.source import code_of
from batchfront.objectives.spec import guarded, is_table, own_object, table_file
from batchfront.objectives.task import Task
from batchfront.objectives.tasks.bundled import NAMES, bundled
from batchfront.objectives.training.batches import EXACT, rule_in
from batchfront.objectives.training.recipe import PLAIN, Recipe, only_plain

if TYPE_CHECKING:
    from batchfront.objectives.training.objective import TaskObjective


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
    elif is_table(spec):
        only_plain(recipe, f"{spec} is played back")
        return _replay(spec, compiled=compiled, asked=asked)
    else:
        name, found = (spec, bundled(spec)) if spec in NAMES else own_object(spec)
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
    objective: Any = guarded(prepare, name)
    if recipe.data_parallel > 1 and rank == 0:
        _lead(objective, task=spec, device=device, data_dir=data_dir)
    return objective  # type: ignore[no-any-return]


def _replay(spec: str, *, compiled: bool, asked: AskedMetric) -> Objective:
    from batchfront.objectives.curves.replay import load_replay

    path = table_file(spec)
    if compiled:
        raise ObjectiveError(f"{spec} is played back, nothing is trained: run without --compile")
    return load_replay(path, asked)


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
        found = _called(found, name, data_dir=data_dir, asked=asked, names=names, script=script)
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
        return _own_loop(found, name, recipe, asked, compiled=compiled)
    raise ObjectiveError(
        f"{name} is {type(found).__name__}, wanted a Task, a function that returns one, or a "
        "function objective(params, run), or objective(trial)"
    )


def _called(
    function: Callable[..., Any],
    name: str,
    *,
    data_dir: Path,
    asked: AskedMetric,
    names: Mapping[str, str],
    script: str | None,
) -> Any:
    """What a function stands for: a loop, a script's objective, or what it returns."""
    n_parameters = _n_positional(function)
    if n_parameters == 2:
        return CustomLoop(function=function)
    if n_parameters == 1:
        return script_loop(function, name=name, names=names, asked=asked, known=script)
    if n_parameters == 0:
        return function(**({"data_dir": data_dir} if _takes(function, "data_dir") else {}))
    return function


def _own_loop(
    loop: CustomLoop, name: str, recipe: Recipe, asked: AskedMetric, *, compiled: bool
) -> CustomLoop:
    only_plain(recipe, f"{name} is a training loop of your own")
    if compiled:
        raise ObjectiveError(
            f"{name} is a training loop of your own, and --compile compiles the step of ours: "
            "compile inside your loop and run without --compile"
        )
    if isinstance(loop, ScriptLoop):  # it has asked already
        return _named(loop, name)
    return _named(replace(loop, metric=asked.of(loop.metric)), name)


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
