"""What the adapters share: imports, what a trainer logs, bytes in a run, the loop they make."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

from batchfront.objectives.measurement import MetricError, ObjectiveError, TrialParams
from batchfront.objectives.metric import Metric
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.parameter import Parameter
from batchfront.objectives.run import Run

RATES = ("learning_rate", "lr")  # what modules call it


def needed(*names: str, extra: str) -> Any:
    """The first of some modules that is installed.

    Raises:
        ObjectiveError: none is; it says what to install.
    """
    for name in names:
        try:
            return import_module(name)
        except ImportError as error:
            if (error.name or "").partition(".")[0] != name.partition(".")[0]:
                raise
    raise ObjectiveError(
        f"batchfront.{extra} needs {names[0].partition('.')[0]}, which is not installed: "
        f"pip install 'batchfront[{extra}]'"
    )


def logged(metric: str, values: Mapping[str, Any], *, where: str) -> tuple[float, dict[str, float]]:
    """The metric among what a trainer logs, and the other values of its validation.

    Raises:
        MetricError: it logs no such metric.
    """
    found = {name: number for name, one in values.items() if (number := _number(one)) is not None}
    if metric not in found:
        names = ", ".join(sorted(found)) or "nothing"
        raise MetricError(f"{where} logs {names}, and not {metric!r}: name one of these")
    others = {re.sub(r"\W", "_", n): v for n, v in found.items() if n.startswith(("val", "eval_"))}
    del others[re.sub(r"\W", "_", metric)]
    return found[metric], {n: v for n, v in others.items() if math.isfinite(v)}


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # words, tensors of many numbers
        return None


def made(
    make: Callable[..., Any], wanted: Mapping[str, Any], *, required: Iterable[str], what: str
) -> Any:
    """What a class or function makes of those of the wanted values that it takes by name.

    Raises:
        ObjectiveError: it takes none of the required ones.
    """
    parameters = inspect.signature(make).parameters.values()
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    taken = {n: v for n, v in wanted.items() if takes_all or n in {p.name for p in parameters}}
    required = list(required)
    if not set(required) & set(taken):
        said = ", ".join(p.name for p in parameters) or "nothing"
        name = getattr(make, "__name__", what)
        raise ObjectiveError(
            f"{name} takes {said}, wanted {' or '.join(required)}: what the study chooses has to "
            f"reach the {what}"
        )
    if takes_all and set(required) <= set(taken):  # of two names for one thing, the first
        taken = {n: v for n, v in taken.items() if n not in required[1:]}
    return make(**taken)


def whole_epochs(params: TrialParams, what: str) -> int:
    """The epochs of a run.

    Raises:
        ObjectiveError: its length is none of plain epochs.
    """
    if not params.planned.is_plain:
        raise ObjectiveError(f"{what} trains for epochs, and a run of {params.planned} was asked")
    return params.epochs


class Pause:
    """A part of a run that is no training, begun in one call of a trainer and ended in another."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._open: AbstractContextManager[None] | None = None

    def evaluating(self) -> None:
        """Clock and meter stand still from here on."""
        self.end()
        self._open = self._run.validating()
        self._open.__enter__()

    def loading(self) -> None:
        """Data are made from here on."""
        self.end()
        self._open = self._run.loading()
        self._open.__enter__()

    def end(self) -> None:
        """Training goes on; does nothing where it has."""
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None


def packed(folder: Path) -> dict[str, Any]:
    """All files of a folder as tensors, by their names in it: what a checkpoint can hold."""
    import torch

    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    return {
        path.relative_to(folder).as_posix(): torch.frombuffer(
            bytearray(path.read_bytes()), dtype=torch.uint8
        )
        for path in files
    }


def unpack(files: Mapping[str, Any], folder: Path) -> None:
    """Write the files that `packed` read."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.cpu().numpy().tobytes())


def loop_of(
    function: Callable[[TrialParams, Run], None],
    *,
    like: Callable[..., Any],
    metric: str | Metric,
    epochs: int,
    search: Mapping[str, Parameter] | None,
    n_train: int | None,
) -> CustomLoop:
    """A training loop that is known by the module and name of what the user wrote, `like`."""
    function.__module__, function.__qualname__ = like.__module__, like.__qualname__
    return CustomLoop(
        function=function,
        metric=metric,
        default_epochs=epochs,
        search=search or {},
        n_train=n_train,
    )
