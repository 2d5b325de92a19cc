"""The studies of an SQLite file, read by the standard library alone: for who only counts trials.

Importing Optuna and SQLAlchemy takes longer than to read thousands of trials. What is read here has
the names of Optuna's `Study`, `FrozenTrial` and distributions, as far as it takes to judge a trial
and to count it. `tests/storage/test_glance.py` compares all of it with what Optuna reads.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from batchfront.storage.garbage import keeping_garbage
from batchfront.storage.schema import REVISION
from batchfront.storage.sqlite_file import TIMEOUT_SECONDS, address, check_readable

AT_A_TIME = 500  # trials whose attributes are parsed in one call
INFINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf}

STUDIES = "SELECT study_id, study_name FROM studies ORDER BY study_id"
DIRECTIONS = "SELECT study_id, direction FROM study_directions ORDER BY objective"
STUDY_ATTRIBUTES = "SELECT study_id, key, value_json FROM study_{}_attributes"
OF_STUDY = "FROM trials t JOIN {} USING (trial_id) WHERE study_id = ?"
HEADS = "SELECT trial_id, number, state FROM trials WHERE study_id = ?"
PARAMS = f"""
    SELECT t.trial_id, param_name, param_value, distribution_json
    {OF_STUDY.format("trial_params")}
"""
VALUES = f"""
    SELECT t.trial_id, value, value_type {OF_STUDY.format("trial_values")}
    ORDER BY t.trial_id, objective
"""
ATTRIBUTES = f"""
    SELECT t.trial_id, json_group_array(key), group_concat(value_json)
    {OF_STUDY.format("trial_{}_attributes")} GROUP BY t.trial_id
"""
Settled = Callable[[str, Sequence[Any]], bool]
"""Whether nobody needs an attribute of many trials: its name, and the values that they have."""


def _nothing(name: str, values: Sequence[Any]) -> bool:
    return False


class State(NamedTuple):
    """The state of a trial."""

    name: str

    def is_finished(self) -> bool:
        """Whether the trial has ended."""
        return self.name not in ("RUNNING", "WAITING")


class Distribution(NamedTuple):
    """How a parameter was drawn."""

    kind: str  # Optuna's class
    log: bool
    choices: tuple[Any, ...]  # of a categorical one


class Trial(NamedTuple):
    """A trial without its intermediate values and dates."""

    trial_id: int
    number: int
    state: State
    params: Mapping[str, Any]
    distributions: Mapping[str, Distribution]
    values: list[float] | None
    user_attrs: Mapping[str, Any]
    system_attrs: Mapping[str, Any]

    @property
    def _trial_id(self) -> int:
        return self.trial_id

    @property
    def constraints(self) -> dict[str, Any]:
        """The values of its constraints; Optuna stored them as a list once."""
        system = self.system_attrs
        found = {key: value for key, value in system.items() if key.startswith("constraints:")}
        found.update((str(n), value) for n, value in enumerate(system.get("constraints") or ()))
        return found


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study; its trials are read when they are asked for."""

    study_name: str
    directions: list[str]
    user_attrs: Mapping[str, Any]
    system_attrs: Mapping[str, Any]
    read: Callable[[Settled], list[Trial]]
    settled: Settled = _nothing

    def get_trials(self, *, deepcopy: Literal[False]) -> list[Trial]:
        """All of its trials, read once; nobody changes them."""
        return self._trials

    @cached_property
    def _trials(self) -> list[Trial]:
        return self.read(self.settled)

    def without(self, settled: Settled) -> Study:
        """The same study, whose trials lack the attributes that are settled for many at once."""
        return replace(self, settled=settled)


@contextmanager
def studies_in(path: Path) -> Iterator[list[Study] | None]:
    """The studies of a file while it is open; None where another Optuna has made its tables.

    Nothing is written, and no lock is kept between two statements.

    Raises:
        StorageError: a file that no reader can open.
        sqlite3.Error: it cannot be read any more.
    """
    check_readable(path)
    opened = sqlite3.connect(address(path), uri=True, timeout=TIMEOUT_SECONDS)
    with closing(opened) as connection, keeping_garbage():
        connection.execute("PRAGMA query_only = ON")
        if _is_known(connection):
            yield _studies(connection)
            return
    yield None


def _is_known(connection: sqlite3.Connection) -> bool:
    try:
        return connection.execute("SELECT * FROM alembic_version").fetchall() == [(REVISION,)]
    except sqlite3.OperationalError:  # Optuna had no such table once
        return False


def _studies(connection: sqlite3.Connection) -> list[Study]:
    directions = defaultdict(list)
    for study_id, direction in connection.execute(DIRECTIONS):
        directions[study_id].append(direction)
    user, system = (_of_studies(connection, kind) for kind in ("user", "system"))
    return [
        Study(
            study_name=name,
            directions=directions[study_id],
            user_attrs=user[study_id],
            system_attrs=system[study_id],
            read=partial(_trials, connection, study_id),
        )
        for study_id, name in connection.execute(STUDIES)
    ]


def _of_studies(connection: sqlite3.Connection, kind: str) -> Mapping[int, Mapping[str, Any]]:
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for study_id, key, text in connection.execute(STUDY_ATTRIBUTES.format(kind)):
        found[study_id][key] = json.loads(text)
    return found


def _trials(connection: sqlite3.Connection, study_id: int, settled: Settled) -> list[Trial]:
    state = lru_cache(State)
    none: dict[str, Any] = {}
    heads = connection.execute(HEADS, (study_id,)).fetchall()
    params, distributions = _params(connection, study_id)
    values = _values(connection, study_id)
    user, system = (_attributes(connection, study_id, of, settled) for of in ("user", "system"))
    return [
        Trial(
            trial_id,
            number,
            state(name),
            params.get(trial_id, none),
            distributions.get(trial_id, none),
            values.get(trial_id),
            user.get(trial_id, none),
            system.get(trial_id, none),
        )
        for trial_id, number, name in heads
    ]


def _params(
    connection: sqlite3.Connection, study_id: int
) -> tuple[Mapping[int, dict[str, Any]], Mapping[int, dict[str, Distribution]]]:
    distribution = lru_cache(_distribution)  # most trials are drawn alike
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    distributions: dict[int, dict[str, Distribution]] = defaultdict(dict)
    for trial_id, name, stored, text in connection.execute(PARAMS, (study_id,)):
        distributions[trial_id][name], value_of = distribution(text)
        params[trial_id][name] = value_of(stored)
    return params, distributions


def _distribution(text: str) -> tuple[Distribution, Callable[[float], Any]]:
    """A distribution, and what makes a parameter's value of the number that is stored of it."""
    stored = json.loads(text)
    kind, attributes = stored["name"], stored["attributes"]
    choices = tuple(attributes.get("choices", ()))
    found = Distribution(kind, attributes.get("log", False), choices)
    if choices:
        return found, lambda place: choices[int(place)]
    return found, int if kind.startswith("Int") else float


def _values(connection: sqlite3.Connection, study_id: int) -> Mapping[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for trial_id, value, kind in connection.execute(VALUES, (study_id,)):
        found[trial_id].append(INFINITE.get(kind, value))
    return found


def _attributes(
    connection: sqlite3.Connection, study_id: int, kind: str, settled: Settled
) -> Mapping[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    rows = connection.execute(ATTRIBUTES.format(kind), (study_id,))
    while some := rows.fetchmany(AT_A_TIME):
        values = json.loads(f"[[{'],['.join([texts for _, _, texts in some])}]]")
        alike: dict[str, dict[int, list[Any]]] = defaultdict(dict)  # by the names they have
        for (trial_id, names, _), own in zip(some, values, strict=True):
            alike[names][trial_id] = own
        for names, those in alike.items():
            found.update(_unsettled(json.loads(names), those, settled))
    return found


def _unsettled(
    names: Sequence[str], rows: Mapping[int, Sequence[Any]], settled: Settled
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The attributes that somebody needs, from the values that trials have of all of them."""
    columns = zip(names, zip(*rows.values(), strict=True), strict=True)
    left = {name: column for name, column in columns if not settled(name, column)}
    if left:
        for trial_id, own in zip(rows, zip(*left.values(), strict=True), strict=True):
            yield trial_id, dict(zip(left, own, strict=True))
