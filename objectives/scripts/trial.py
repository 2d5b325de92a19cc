"""`trial` as a function that was written for Optuna sees it, without Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchfront.objectives.parameter import Parameter, Value

MOST_STEPS = 64  # of a range with steps that becomes a list of choices


class ScriptTrial:
    """Answers `suggest_...` with what is to be trained, and takes what is reported.

    Its methods and their arguments are those of `optuna.Trial`.
    """

    def __init__(
        self, values: Mapping[str, Value], report: Callable[[float], bool], *, number: int = 0
    ) -> None:
        """`values`: by the script's own names. `report`: takes a value, says whether to stop."""
        self.params: dict[str, Value] = {}
        self.user_attrs: dict[str, Any] = {}
        self.number = number
        self.suggested: dict[str, Parameter] = {}  # in the order of the calls
        self._values = values
        self._report = report
        self._stops = False

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number of a range."""
        if step is not None and (high - low) / step < MOST_STEPS:
            n = int((high - low) / step + 1e-9)
            return float(self._suggest(name, Parameter(choices=_grid(low, step, n))))
        return float(self._suggest(name, Parameter(low=float(low), high=float(high), log=log)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """A whole number of a range."""
        if step != 1 and (high - low) / step < MOST_STEPS:
            return int(self._suggest(name, Parameter(choices=tuple(range(low, high + 1, step)))))
        return int(self._suggest(name, Parameter(low=int(low), high=int(high), log=log)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of some choices; those that are no words or numbers are told apart by their repr.

        A batch size or a rate may be another one: the study decides what is searched.
        """
        plain = tuple(one if isinstance(one, Value) else repr(one) for one in choices)
        found = self._suggest(name, Parameter(choices=plain))
        return choices[plain.index(found)] if found in plain else found

    def report(self, value: float, step: int) -> None:
        """Take the metric so far; what should_prune says follows from it."""
        self._stops = self._report(float(value)) or self._stops

    def should_prune(self) -> bool:
        """Whether the stop rule of the study, or the guard, has had enough."""
        return self._stops

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep it for the function itself."""
        self.user_attrs[key] = value

    def _suggest(self, name: str, parameter: Parameter) -> Any:
        self.suggested[name] = parameter
        if name in self._values or is_fixed(parameter):
            self.params[name] = self._values.get(name, parameter.probed)
        else:
            self.params[name] = parameter.probed
            if self._values:
                warnings.warn(
                    f"the script suggests {name!r}, which it did not when it was first run: it is "
                    f"not searched, and always {parameter.probed!r}",
                    stacklevel=3,
                )
        return self.params[name]


def is_fixed(parameter: Parameter) -> bool:
    """Whether there is nothing to choose."""
    return len(parameter.choices) == 1 or (
        parameter.low is not None and parameter.low == parameter.high
    )


def _grid(low: float, step: float, n: int) -> tuple[float, ...]:
    return tuple(low + k * step for k in range(n + 1))
