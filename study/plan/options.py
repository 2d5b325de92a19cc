"""Every setting of a study as an option: its name, kind and words, and the verbs that take it.

The command line, the TOML reader and docs/options.md follow from this list, and the Makefile hands
on what was typed. A setting is declared once: as a field of `StudySettings`, or, where it changes
how a run trains, as a field of `Recipe`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from batchfront.objectives.meters.early_stopping import EarlyStopping
from batchfront.objectives.number import as_float, shown
from batchfront.objectives.training.recipe import Recipe
from batchfront.study.errors import StudyError
from batchfront.study.plan.environment import DATA_VARIABLE, STORAGE_VARIABLE
from batchfront.study.plan.parsers import PARSERS
from batchfront.study.plan.setting import TECHNIQUE_VERBS
from batchfront.study.plan.settings import StudySettings

GROUPS = {
    "task": "what is trained",
    "search": "what is searched, and how",
    "budgets": "what a run may cost and must reach",
    "techniques": "how a run trains",
    "workers": "who runs it, and where it is kept",
}
VARIABLES = {"storage": STORAGE_VARIABLE, "data_dir": DATA_VARIABLE}  # of the environment
PLAIN_KINDS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
NUMBERS_OR_WORDS = {
    "trials": (int,),
    "fuse": (int,),
    "sharing": (int,),
    "duration": (int, float),
}  # in TOML


@dataclass(frozen=True, kw_only=True)
class Option:
    """One setting, as people write it."""

    name: str  # in TOML; `--batch-sizes` is its flag, and `BATCH_SIZES` its make variable
    field: str  # of StudySettings or Recipe
    kind: str  # of PLAIN_KINDS or PARSERS
    words: str
    group: str  # of GROUPS
    verbs: tuple[str, ...]
    is_technique: bool  # a field of Recipe

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The variable of make."""
        return self.name.upper()

    @property
    def read(self) -> Callable[[str], Any]:
        """A function from text to value, which raises StudyError or ValueError."""
        return PLAIN_KINDS.get(self.kind) or PARSERS[self.kind]

    def typed(self, value: Any, where: Path) -> Any:
        """The value that a TOML file gives.

        Raises:
            StudyError: it is of another type.
        """
        if type(value) in NUMBERS_OR_WORDS.get(self.kind, ()):
            return self.read(str(value))
        wanted = self.kind if self.kind in PLAIN_KINDS else "str"
        kinds = (int, float) if wanted == "float" else (PLAIN_KINDS[wanted],)
        if type(value) not in kinds:  # exactly: True is no number here
            either = [one.__name__ for one in NUMBERS_OR_WORDS.get(self.kind, ())]
            wanted = " or ".join([*either, wanted])
            raise StudyError(f"{where}: {self.name} is {shown(value)}, wanted {wanted}")
        if self.kind == "float":
            return as_float(value)
        if isinstance(value, str) and "\0" in value:  # no command line can hold one
            raise StudyError(f"{where}: {self.name} holds a NUL, which no name does")
        return self.read(value) if wanted == "str" else value

    def valued(self, value: Any) -> Any:
        """The value that Python code gives: what a command line says, or a number, tuple or list.

        Raises:
            StudyError: it is nothing that the option can be.
        """
        value = value.item() if hasattr(value, "item") else value  # NumPy's numbers
        if self.kind not in PLAIN_KINDS and not isinstance(value, EarlyStopping):
            if isinstance(value, tuple | list | range):
                join = ":" if self.kind == "learning rates" else ","
                value = join.join(str(getattr(one, "item", lambda one=one: one)()) for one in value)
            return self.read(str(value))
        wanted = PLAIN_KINDS.get(self.kind, EarlyStopping)
        if wanted is str and isinstance(value, Path):
            return str(value)
        if wanted is float and type(value) is int:
            return float(value)
        if type(value) is not wanted:
            raise StudyError(f"{self.name} is {shown(value)}, wanted {self.kind}")
        return value


@cache
def options() -> dict[str, Option]:
    """All of them by name, those of one group together."""
    found = [_option(f, is_technique=False) for f in fields(StudySettings) if "words" in f.metadata]
    found += [_option(f, is_technique=True) for f in fields(Recipe)]
    order = list(GROUPS)
    found.sort(key=lambda option: order.index(option.group))
    return {option.name: option for option in found}


def _option(field: Any, *, is_technique: bool) -> Option:
    said = field.metadata
    kind = str(field.type).removesuffix(" | None")
    return Option(
        name=said.get("option", field.name),
        field=field.name,
        kind=said.get("kind", kind),
        words=said["words"],
        group="techniques" if is_technique else said["group"],
        verbs=TECHNIQUE_VERBS if is_technique else said["verbs"],
        is_technique=is_technique,
    )


def option_named(name: str, where: str) -> Option:
    """The option of that name.

    Raises:
        StudyError: there is none; it names the nearest.
    """
    known = options()
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0)[0]
        raise StudyError(f"{where} {name!r}: the nearest known is {near!r}")
    return known[name]


def with_environment(given: dict[str, Any]) -> dict[str, Any]:
    """Values by option name, with what the environment says of those that were not given."""
    said = {name: os.environ.get(variable) for name, variable in VARIABLES.items()}
    return {**{name: value for name, value in said.items() if value}, **given}


def settings_from(given: dict[str, Any]) -> dict[str, Any]:
    """Values by option name as arguments of `StudySettings`: techniques go into one mapping."""
    known = options()
    plain = {known[n].field: value for n, value in given.items() if not known[n].is_technique}
    techniques = {known[n].field: value for n, value in given.items() if known[n].is_technique}
    return {**plain, "techniques": techniques} if techniques else plain
