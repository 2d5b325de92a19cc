"""What a task lets the search vary besides batch size and learning rate."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeGuard

from batchfront.objectives.measurement import ObjectiveError

Value = str | int | float | bool
TAKEN = ("batch_size", "log2_batch_size", "learning_rate", "lr", "params", "parameters")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A range, `low` to `high`, whole numbers where both are; or `choices`."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Search the range by its logarithm."""
    choices: tuple[Value, ...] = ()
    bears_cost: bool = True
    """Whether time or memory of a run depend on it. Where they do, the cost of a combination that
    was not probed is estimated from the trials, not known."""
    usual: Value | None = None
    """What probes use; default: the first choice, or the middle of the range."""

    @property
    def is_whole(self) -> bool:
        """A range of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def probed(self) -> Value:
        """The value at which batch sizes are probed."""
        if self.usual is not None:
            return self.usual
        return self.choices[0] if self.choices else self.value(0.5)

    def value(self, share: float) -> float:
        """The value at a share, 0..1, of the range."""
        low, high = float(self.low or 0.0), float(self.high or 0.0)
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return round(value) if self.is_whole else min(max(value, low), high)

    def share(self, value: float) -> float:
        """The share of the range, 0..1, at which a value lies."""
        low, high = float(self.low or 0.0), float(self.high or 0.0)
        if self.log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def as_dict(self) -> dict[str, Any]:
        """All that is set, as it is stored with a study."""
        stored = {key: value for key, value in asdict(self).items() if value not in (None, ())}
        return {**stored, "choices": list(self.choices)} if self.choices else stored

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> Parameter:
        """The parameter of which `as_dict` gave this."""
        return Parameter(**{**stored, "choices": tuple(stored.get("choices", ()))})


def check_search(search: Mapping[str, Parameter], *, task: str) -> None:
    """Raise ObjectiveError for names and ranges that nothing could search."""
    for name, parameter in search.items():
        wrong = _wrong_with(name, parameter)
        if wrong:
            raise ObjectiveError(f"task {task!r}: searched parameter {name!r} {wrong}")


def _wrong_with(name: str, parameter: Parameter) -> str:
    if not isinstance(parameter, Parameter):
        return f"is {type(parameter).__name__}, wanted a Parameter"
    if not name.isidentifier() or name in TAKEN:
        return f"has a name that is taken or no identifier; taken are {', '.join(TAKEN)}"
    if parameter.choices:
        if not isinstance(parameter.choices, list | tuple) or not all(
            isinstance(choice, Value) and choice == choice for choice in parameter.choices
        ):
            return f"has the choices {parameter.choices!r}, wanted strings, numbers or booleans"
        if (parameter.low, parameter.high) != (None, None) or parameter.log:
            return "has both choices and a range, wanted one"
        if len(set(parameter.choices)) < max(len(parameter.choices), 2):
            return f"has the choices {parameter.choices}, wanted at least two different ones"
        kinds = [(type(choice), choice) for choice in parameter.choices]
        if parameter.usual is not None and (type(parameter.usual), parameter.usual) not in kinds:
            return f"usually is {parameter.usual!r}, which is none of {parameter.choices}"
        return ""
    low, high = parameter.low, parameter.high
    if not (_is_number(low) and _is_number(high)) or not low < high or math.isinf(high - low):
        return f"ranges from {low} to {high}, wanted low below high, or choices"
    if parameter.log and not low > 0:
        return f"ranges from {low} by its logarithm, wanted a low end above 0"
    usual = parameter.usual
    if usual is not None and not (_is_number(usual) and low <= usual <= high):
        return f"usually is {usual!r}, which is not within {low}..{high}"
    if usual is not None and parameter.is_whole and not isinstance(usual, int):
        return f"usually is {usual!r}, wanted a whole number like its range"
    return ""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def usual_values(search: Mapping[str, Parameter]) -> dict[str, Value]:
    """What probes use, and whoever does not search."""
    return {name: parameter.probed for name, parameter in search.items()}


def names_taken(function: Callable[..., Any], names: Mapping[str, Any]) -> set[str]:
    """Which of `names` a function has among its parameters."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name for p in parameters if p.kind in named} & set(names)


def bound(function: Callable[..., Any], values: Mapping[str, Value]) -> Callable[..., Any]:
    """The function with those of `values` filled in that it takes by name."""
    taken = {name: values[name] for name in values if name in names_taken(function, values)}
    return partial(function, **taken) if taken else function
