"""What SQLite, PostgreSQL and MySQL have in common: Optuna's tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from importlib import import_module
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from batchfront.storage.errors import StorageError
from batchfront.storage.fence import IDENTITY, OWNER
from batchfront.storage.shared import NOTHING, SharedStorage
from batchfront.storage.tables import (
    HEARTBEATS,
    STUDY_ATTRIBUTES,
    SYSTEM_ATTRIBUTES,
    TRIALS,
    USER_ATTRIBUTES,
    attribute_rows,
    read_trials,
    write_trials,
)


class SharedRDBStorage(RDBStorage, SharedStorage):
    """Optuna's storage in tables, read and written many trials or attributes at once."""

    def check_fence(self, connection: Connection) -> None:
        """Raise what the fence does, as the transaction finds the study and the trial.

        Raises:
            StudyGone: the study is another one.
            UpdateFinishedTrialError: the trial is another worker's.
        """
        fence = self.fence_now
        if fence is None:
            return
        of_study = (
            STUDY_ATTRIBUTES.c.study_id == fence.study_id,
            STUDY_ATTRIBUTES.c.key == IDENTITY,
        )
        fence.check_study(_value(connection, STUDY_ATTRIBUTES, *of_study))
        if fence.trial_id is not None:
            attributes = USER_ATTRIBUTES.c
            of_trial = (attributes.trial_id == fence.trial_id, attributes.key == OWNER)
            fence.check_owner(_value(connection, USER_ATTRIBUTES, *of_trial))

    def set_trial_attrs(
        self, trial_id: int, user: Mapping[str, Any], system: Mapping[str, Any] = NOTHING
    ) -> None:
        """Write attributes of a running trial, as `SharedStorage` describes, in one transaction.

        Optuna has no public call for it, and setting one attribute after another is most of what
        a trial costs on a database. So this knows three of Optuna's tables.
        """
        with self.engine.begin() as connection:
            # Locked, so that nobody ends the trial before the attributes are in.
            states = select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id).with_for_update()
            state = connection.execute(states).scalar_one_or_none()
            if state is None:
                raise KeyError(f"there is no trial with id {trial_id}")
            if state.is_finished():
                raise UpdateFinishedTrialError(f"trial with id {trial_id} is finished")
            for into, attrs in ((USER_ATTRIBUTES, user), (SYSTEM_ATTRIBUTES, system)):
                rows = list(attribute_rows(trial_id, attrs))
                if rows:
                    connection.execute(_upsert(self.engine.name, into), rows)

    def add_trials(self, study_id: int, trials: Sequence[FrozenTrial]) -> None:
        """Add trials, as `SharedStorage` describes, in one transaction."""
        with self.engine.begin() as connection:
            write_trials(connection, study_id, trials)

    def count_trials(self, study_id: int) -> Counter[TrialState]:
        """The counts, as `SharedStorage` describes them."""
        counts = select(TRIALS.c.state, func.count()).where(TRIALS.c.study_id == study_id)
        with self.engine.connect() as connection:
            rows = connection.execute(counts.group_by(TRIALS.c.state)).all()
        return Counter(dict(map(tuple, rows)))

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: Collection[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """What all of Optuna reads trials with; its cache asks for what is new to it."""
        with self.engine.connect() as connection:
            return read_trials(
                connection,
                study_id,
                states=states,
                newer_than=trial_id_greater_than,
                and_those=included_trial_ids,
            )

    def get_heartbeats(self, study_id: int) -> Mapping[int, Any]:
        """When the worker of each running trial has last shown that it lives, as it is stored."""
        running = select(HEARTBEATS.c.trial_id, HEARTBEATS.c.heartbeat).where(
            HEARTBEATS.c.trial_id == TRIALS.c.trial_id,
            TRIALS.c.study_id == study_id,
            TRIALS.c.state == TrialState.RUNNING,
        )
        with self.engine.connect() as connection:
            return dict(connection.execute(running).all())


def _value(connection: Connection, attributes: Any, *where: Any) -> Any:
    """An attribute's value; None when there is none."""
    found = connection.execute(select(attributes.c.value_json).where(*where)).scalar_one_or_none()
    return None if found is None else json.loads(found)


def _upsert(dialect: str, into: Any) -> Any:
    """Insert attributes, over those of the same name."""
    of = import_module(f"sqlalchemy.dialects.{dialect}")  # that one alone: each takes a while
    insert = of.insert(into)
    if dialect == "mysql":
        return insert.on_duplicate_key_update(value_json=insert.inserted.value_json)
    return insert.on_conflict_do_update(
        index_elements=["trial_id", "key"], set_={"value_json": insert.excluded.value_json}
    )


def optuna_url(url: str) -> str:
    """The URL as RDBStorage takes it, with { and } doubled: Optuna formats its URLs."""
    return url.replace("{", "{{").replace("}", "}}")


def wrong_schema(where: str, error: RuntimeError) -> StorageError:
    """The error for tables of another Optuna version; its text has the remedy."""
    return StorageError(f"{where} cannot be opened: {error}")
