"""Optuna's tables, read and written many trials at a time.

Optuna makes an object of every row: a millisecond to read a trial, and many to write one. Here the
rows stay plain. This and `glance.py`, which only counts them, are the places that know how Optuna
stores its trials; `tests/storage/test_tables.py` fails when a version of it stores them otherwise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, insert, select

from batchfront.storage.garbage import keeping_garbage

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

STUDIES = models.StudyModel.__table__
STUDY_ATTRIBUTES = models.StudyUserAttributeModel.__table__
TRIALS = models.TrialModel.__table__
HEARTBEATS = models.TrialHeartbeatModel.__table__
PARAMS = models.TrialParamModel.__table__
VALUES = models.TrialValueModel.__table__
USER_ATTRIBUTES = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRIBUTES = models.TrialSystemAttributeModel.__table__
STEPS = models.TrialIntermediateValueModel.__table__

AT_A_TIME = 500  # trials: older SQLite takes 999 variables

Rows = Sequence[Sequence[Any]]  # of one trial; each begins with its own id and the trial's


class Head(NamedTuple):
    """A row of the table of trials."""

    trial_id: int
    number: int
    state: TrialState
    start: datetime | None  # UTC, like the next
    complete: datetime | None


def read_trials(
    connection: Connection,
    study_id: int,
    *,
    states: Container[TrialState] | None = None,
    newer_than: int = -1,
    and_those: Collection[int] = (),
) -> list[FrozenTrial]:
    """The trials of a study with an id above `newer_than`, or one of `and_those`; by their ids.

    Raises:
        KeyError: there is no such study.
    """
    _check_study(connection, study_id)
    heads = _heads(connection, study_id, states, newer_than, and_those)
    with keeping_garbage():
        return [trial for some in _batches(heads) for trial in _trials(connection, some)]


def write_trials(connection: Connection, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Add trials to a study as Optuna's `create_new_trial` does, in the caller's transaction.

    Raises:
        KeyError: there is no such study.
        ValueError: a parameter is drawn in another way than in the study's trials before.
    """
    _check_study(connection, study_id, lock=True)  # nobody adds while numbers are counted
    _check_distributions(connection, study_id, trials)
    count = select(func.count()).select_from(TRIALS).where(TRIALS.c.study_id == study_id)
    first = connection.execute(count).scalar_one()
    heads = [_head_row(study_id, number, trial) for number, trial in enumerate(trials, first)]
    _insert(connection, TRIALS, heads)
    added = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id, TRIALS.c.number >= first)
    ids = connection.execute(added.order_by(TRIALS.c.number)).scalars().all()
    new = list(zip(ids, trials, strict=True))
    _insert(connection, PARAMS, [row for id_, trial in new for row in _param_rows(id_, trial)])
    _insert(connection, VALUES, [row for id_, trial in new for row in _value_rows(id_, trial)])
    _insert(connection, STEPS, [row for id_, trial in new for row in _step_rows(id_, trial)])
    for into, name in ((USER_ATTRIBUTES, "user_attrs"), (SYSTEM_ATTRIBUTES, "system_attrs")):
        rows = [row for id_, trial in new for row in attribute_rows(id_, getattr(trial, name))]
        _insert(connection, into, rows)


def attribute_rows(trial_id: int, attributes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows that hold a trial's attributes."""
    for key, value in attributes.items():
        yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _check_study(connection: Connection, study_id: int, *, lock: bool = False) -> None:
    found = select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id)
    if connection.execute(found.with_for_update() if lock else found).first() is None:
        raise KeyError("Record does not exist.")  # as Optuna says it


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), AT_A_TIME):
        yield items[first : first + AT_A_TIME]


def _heads(
    connection: Connection,
    study_id: int,
    states: Container[TrialState] | None,
    newer_than: int,
    and_those: Collection[int],
) -> list[Head]:
    c = TRIALS.c
    wanted = select(c.trial_id, c.number, c.state, c.datetime_start, c.datetime_complete)
    wanted = wanted.where(c.study_id == study_id)
    if states is not None:
        wanted = wanted.where(c.state.in_([state for state in TrialState if state in states]))
    rows = list(connection.execute(wanted.where(c.trial_id > newer_than)).all())
    older = [trial_id for trial_id in and_those if trial_id <= newer_than]
    for some in _batches(older):
        rows += connection.execute(wanted.where(c.trial_id.in_(some))).all()
    return sorted((Head(*row) for row in rows), key=itemgetter(0))


def _trials(connection: Connection, heads: Sequence[Head]) -> Iterator[FrozenTrial]:
    ids = [head.trial_id for head in heads]
    tables = (PARAMS, VALUES, USER_ATTRIBUTES, SYSTEM_ATTRIBUTES, STEPS)
    params, values, user, system, steps = (_by_trial(connection, table, ids) for table in tables)
    for head in heads:
        trial_id, number, state, start, complete = head
        drawn = sorted(params.get(trial_id, ()), key=itemgetter(0))  # in the order of suggestion
        distributions = {name: _distribution(text) for _, _, name, _, text in drawn}
        yield FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=_values(values.get(trial_id, ())),
            datetime_start=_local(start),
            datetime_complete=_local(complete),
            params={name: distributions[name].to_external_repr(v) for _, _, name, v, _ in drawn},
            distributions=distributions,
            user_attrs=_attributes(user.get(trial_id, ())),
            system_attrs=_attributes(system.get(trial_id, ())),
            intermediate_values=_steps(steps.get(trial_id, ())),
            trial_id=trial_id,
        )


def _by_trial(connection: Connection, table: Any, ids: Sequence[int]) -> Mapping[int, Rows]:
    """The rows of a table that belong to trials, by the trial's id."""
    found: dict[int, list[Any]] = {}
    for row in connection.execute(select(table).where(table.c.trial_id.in_(ids))).all():
        found.setdefault(row[1], []).append(row)
    return found


@lru_cache(maxsize=1000)
def _distribution(text: str) -> BaseDistribution:
    """The same object for all trials that were drawn alike: nobody changes distributions."""
    return json_to_distribution(text)


def _attributes(rows: Rows) -> dict[str, Any]:
    values = json.loads(f"[{','.join([text for _, _, _, text in rows])}]")  # all in one call
    return dict(zip([sys.intern(key) for _, _, key, _ in rows], values, strict=True))


def _values(rows: Rows) -> list[float] | None:
    values = [0.0] * len(rows)
    for _, _, objective, value, kind in rows:
        values[objective] = models.TrialValueModel.stored_repr_to_value(value, kind)
    return values or None


def _steps(rows: Rows) -> dict[int, float]:
    plain = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
    return {step: plain(value, kind) for _, _, step, value, kind in rows}


def _local(utc: datetime | None) -> datetime | None:
    return None if utc is None else utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _utc(local: datetime | None) -> datetime | None:
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)


def _insert(connection: Connection, into: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(into), rows)


def _check_distributions(
    connection: Connection, study_id: int, trials: Sequence[FrozenTrial]
) -> None:
    """Raise ValueError where Optuna would: it compares with the first of the study."""
    known: dict[str, BaseDistribution] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if name not in known:
                known[name] = _first_drawn(connection, study_id, name) or distribution
            check_distribution_compatibility(known[name], distribution)


def _first_drawn(connection: Connection, study_id: int, name: str) -> BaseDistribution | None:
    of_study = PARAMS.join(TRIALS, TRIALS.c.trial_id == PARAMS.c.trial_id)
    found = select(PARAMS.c.distribution_json).select_from(of_study).limit(1)
    found = found.where(TRIALS.c.study_id == study_id, PARAMS.c.param_name == name)
    text = connection.execute(found).scalar_one_or_none()
    return None if text is None else json_to_distribution(text)


def _head_row(study_id: int, number: int, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "number": number,
        "state": trial.state,
        "datetime_start": _utc(trial.datetime_start),
        "datetime_complete": _utc(trial.datetime_complete),
    }


def _param_rows(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        yield {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distribution.to_internal_repr(value),
            "distribution_json": distribution_to_json(distribution),
        }


def _value_rows(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for objective, value in enumerate(trial.values or ()):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        yield {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}


def _step_rows(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    stored_repr = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    for step, value in trial.intermediate_values.items():
        stored, kind = stored_repr(value)
        yield {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": stored,
            "intermediate_value_type": kind,
        }
