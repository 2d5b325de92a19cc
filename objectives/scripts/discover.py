"""What a script written for Optuna asks for: found by running its function once."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.metric import Direction
from batchfront.objectives.parameter import TAKEN, Parameter, Value
from batchfront.objectives.scripts.trial import ScriptTrial, is_fixed
from batchfront.objectives.scripts.watch import batch_lengths, watched

BATCH_SIZE, LEARNING_RATE = "batch_size", "learning_rate"
USUAL = {  # what scripts call them
    BATCH_SIZE: ("batch_size", "bs", "batch", "train_batch_size", "per_device_train_batch_size"),
    LEARNING_RATE: ("learning_rate", "lr", "eta"),
}
UNREAD = (SyntaxError, ValueError, OSError, MemoryError, RecursionError)  # of ast.parse


@dataclass(frozen=True, kw_only=True)
class Discovered:
    """What one whole run of the function showed."""

    names: dict[str, str]  # of the script, by ours: BATCH_SIZE and LEARNING_RATE
    suggested: dict[str, Parameter]  # by the script's names
    n_values: int  # that it returned
    points: int  # of its curve, with the value that it returned
    steps: int  # optimizer steps; 0: it has none that are seen
    batch_size: int  # that it ran with
    fixed: dict[str, Value] = field(default_factory=dict)  # suggested, with nothing to choose
    seen: int = 0  # examples that its batches held together; 0: nobody saw their lengths
    n_smaller: int = 0  # batches that were smaller than asked for: one ends each epoch

    def steps_at(self, batch_size: int) -> int:
        """About how many steps a run takes; at least 1.

        Where epochs ended with a smaller batch they do so at every size. Where none was seen, the
        loader drops it, or there is none: nobody knows which. Batches of any length, as of buckets,
        are no such epochs, and do not come out as the steps that were seen.
        """
        if self._with_smaller(self.batch_size) == self.steps > 0:
            return self._with_smaller(batch_size)
        return max(1, round(self.steps * self.batch_size / batch_size))

    def _with_smaller(self, batch_size: int) -> int:
        """Steps of epochs that each end with what is left over; 0 where none was seen."""
        if not self.n_smaller:
            return 0
        n_train = round(self.seen / self.n_smaller)
        return self.n_smaller * -(-n_train // batch_size)

    @property
    def search(self) -> dict[str, Parameter]:
        """What else is searched, by names that our studies can have."""
        ours = self.names.values()
        return {safe(n): p for n, p in self.suggested.items() if n not in ours and not is_fixed(p)}

    def as_text(self) -> str:
        """All of it, as it is stored with a study."""
        plain = dict(vars(self))
        plain["suggested"] = {name: p.as_dict() for name, p in self.suggested.items()}
        return json.dumps(plain)

    @staticmethod
    def from_text(text: str) -> Discovered:
        """What `as_text` gave this of."""
        plain = json.loads(text)
        found = {name: Parameter.from_dict(p) for name, p in plain.pop("suggested").items()}
        return Discovered(suggested=found, **plain)


def discover(function: Callable[[Any], Any], asked: Mapping[str, str], *, name: str) -> Discovered:
    """Run the function once, with the largest batch size it suggests and values from the middle.

    `asked`: what the script calls batch size and learning rate, where somebody says so.

    Raises:
        ObjectiveError: it suggests no batch size or no learning rate, or returns no number.
    """
    reported: list[float] = []
    steps: list[int] = []

    def report(value: float) -> bool:
        reported.append(value)
        return False

    trial = _Largest({}, report)
    trial.sizes = (asked[BATCH_SIZE],) if BATCH_SIZE in asked else USUAL[BATCH_SIZE]
    returned: Any = None
    with (
        batch_lengths() as length,
        watched(
            begin=_nothing, step=lambda loss: steps.append(length()), evaluates=lambda is_so: None
        ),
    ):
        try:
            returned = function(trial)
        except Exception as error:
            if type(error).__name__ != "TrialPruned":  # as Optuna's is called
                raise
    names = {ours: _named(ours, asked, trial.suggested, name) for ours in USUAL}
    values = [] if returned is None else values_of(returned, name)
    return Discovered(
        names=names,
        suggested=trial.suggested,
        n_values=len(values),
        points=len(reported) + (not reported or (len(values) == 1 and values[0] != reported[-1])),
        steps=len(steps),
        batch_size=int(trial.params[names[BATCH_SIZE]]),
        fixed={n: p.probed for n, p in trial.suggested.items() if is_fixed(p)},
        **_smaller(steps, int(trial.params[names[BATCH_SIZE]])),
    )


def _smaller(lengths: Sequence[int], batch_size: int) -> dict[str, int]:
    """What the lengths of all steps' batches say of its epochs; nothing where they are no such."""
    if not lengths or min(lengths) < 1 or max(lengths) != batch_size:
        return {}
    return {"seen": sum(lengths), "n_smaller": sum(n < batch_size for n in lengths)}


class _Largest(ScriptTrial):
    """Suggests the largest batch size: its run is the quickest."""

    sizes: tuple[str, ...] = ()

    def _suggest(self, name: str, parameter: Parameter) -> Any:
        found = super()._suggest(name, parameter)
        if name in self.sizes:
            sizes = parameter.choices or (parameter.high,)
            numbers = [size for size in sizes if isinstance(size, int | float)]
            self.params[name] = found = max(numbers, default=found)
        return found


def values_of(returned: Any, name: str) -> list[float]:
    """The number, or the numbers, that a function returned.

    Raises:
        ObjectiveError: these are none.
    """
    many = list(returned) if isinstance(returned, tuple | list) else [returned]
    try:
        return [float(value) for value in many]
    except (TypeError, ValueError):
        raise ObjectiveError(
            f"{name} returned {returned!r:.100}, wanted a number, or a tuple of them"
        ) from None


def safe(name: str) -> str:
    """The name of a parameter as our studies can have it."""
    found = re.sub(r"\W", "_", name)
    return f"script_{found}" if found in TAKEN or not found.isidentifier() else found


def _named(ours: str, asked: Mapping[str, str], suggested: Mapping[str, Any], name: str) -> str:
    wanted = (asked[ours],) if ours in asked else USUAL[ours]
    for one in wanted:
        if one in suggested:
            return one
    if not suggested:
        raise ObjectiveError(
            f"{name} takes one argument and suggests nothing, wanted objective(trial) that "
            "suggests batch size and learning rate, or objective(params, run)"
        )
    found = ", ".join(suggested)
    what = (
        f"--param {ours}={asked[ours]} is none of them"
        if ours in asked
        else (f"which of them is the {ours.replace('_', ' ')}? give --param {ours}=NAME")
    )
    raise ObjectiveError(f"{name} suggests {found}: {what}")


def _nothing() -> None:
    return None


def direction_in(text: str) -> Direction | None:
    """The direction that the script gives to `create_study`; None where it cannot be read."""
    try:
        tree = ast.parse(text)
    except UNREAD:  # a part of a line, as of a lambda
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "create_study":
            for keyword in node.keywords:
                first: Any = keyword.value
                if keyword.arg == "directions" and isinstance(first, ast.List | ast.Tuple):
                    first = first.elts[0] if first.elts else None
                if keyword.arg in ("direction", "directions") and isinstance(first, ast.Constant):
                    return "maximize" if first.value == "maximize" else "minimize"
            return "minimize" if not any(k.arg == "directions" for k in node.keywords) else None
    return None


def check_script(path: Path) -> None:
    """Raise ObjectiveError where importing the file would start its own study of Optuna's."""
    try:
        tree = ast.parse(path.read_bytes())
    except UNREAD:
        return  # importing it says so
    if not any(_is_import_of(node, "optuna") for node in ast.walk(tree)):
        return
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If | ast.AsyncFunctionDef):
            calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
            line = next((one.lineno for one in calls if _called(one) == "optimize"), None)
            if line is not None:
                raise ObjectiveError(
                    f"{path.name} runs its own study in line {line} whenever it is imported: put "
                    'that, and what follows, under `if __name__ == "__main__":`'
                )


def _is_import_of(node: ast.AST, package: str) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] == package for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package


def _called(node: ast.Call) -> str:
    function: Any = node.func
    return str(getattr(function, "attr", getattr(function, "id", "")))
