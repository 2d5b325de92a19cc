"""What SQLite, PostgreSQL and MySQL have in common: Optuna's tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import String, cast, column, select, table
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Connection

from batchfront.storage.errors import StorageError
from batchfront.storage.fence import IDENTITY, OWNER
from batchfront.storage.shared import NOTHING, SharedStorage

TRIALS = table("trials", column("trial_id"), column("study_id"), column("state"))
HEARTBEATS = table("trial_heartbeats", column("trial_id"), column("heartbeat"))
STUDY_ATTRIBUTES = table(
    "study_user_attributes", column("study_id"), column("key"), column("value_json")
)
USER_ATTRIBUTES, SYSTEM_ATTRIBUTES = (
    table(name, column("trial_id"), column("key"), column("value_json"))
    for name in ("trial_user_attributes", "trial_system_attributes")
)
TABLES = {"studies", "trials", "version_info"}  # a database with these is one of Optuna's


class SharedRDBStorage(RDBStorage, SharedStorage):
    """Optuna's storage in tables, with several attributes written at once."""

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
            if TrialState[state].is_finished():
                raise UpdateFinishedTrialError(f"trial with id {trial_id} is finished")
            for into, attrs in ((USER_ATTRIBUTES, user), (SYSTEM_ATTRIBUTES, system)):
                rows = [
                    {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
                    for key, value in attrs.items()
                ]
                if rows:
                    connection.execute(_upsert(self.engine.name, into), rows)

    def get_heartbeats(self, study_id: int) -> Mapping[int, Any]:
        """When the worker of each running trial has last shown that it lives, as it is stored."""
        running = select(HEARTBEATS.c.trial_id, HEARTBEATS.c.heartbeat).where(
            HEARTBEATS.c.trial_id == TRIALS.c.trial_id,
            TRIALS.c.study_id == study_id,
            cast(TRIALS.c.state, String) == TrialState.RUNNING.name,  # an enum, on PostgreSQL
        )
        with self.engine.connect() as connection:
            return dict(connection.execute(running).all())


def _value(connection: Connection, attributes: Any, *where: Any) -> Any:
    """An attribute's value; None when there is none."""
    found = connection.execute(select(attributes.c.value_json).where(*where)).scalar_one_or_none()
    return None if found is None else json.loads(found)


def _upsert(dialect: str, into: Any) -> Any:
    """Insert attributes, over those of the same name."""
    if dialect == "mysql":
        insert = mysql.insert(into)
        return insert.on_duplicate_key_update(value_json=insert.inserted.value_json)
    insert = {"sqlite": sqlite, "postgresql": postgresql}[dialect].insert(into)
    return insert.on_conflict_do_update(
        index_elements=["trial_id", "key"], set_={"value_json": insert.excluded.value_json}
    )


def optuna_url(url: str) -> str:
    """The URL as RDBStorage takes it, with { and } doubled: Optuna formats its URLs."""
    return url.replace("{", "{{").replace("}", "}}")


def wrong_schema(where: str, error: RuntimeError) -> StorageError:
    """The error for tables of another Optuna version; its text has the remedy."""
    return StorageError(f"{where} cannot be opened: {error}")
