"""Which errors of a server will pass, and how calls are made again until they have."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from batchfront.storage import patience, server
from batchfront.storage.errors import StorageError
from batchfront.storage.open import exists as is_there
from batchfront.storage.open import open_storage, waiting_for_server
from tests.servers import Serve, database, serve


@pytest.mark.parametrize(
    ("number", "passes"),
    [(1205, True), (1213, True), (2003, True), (2013, True), (1142, False), (1045, False)],
)
def test_errors_of_mysql_are_told_apart_by_their_number(number, passes):
    import pymysql

    cause = pymysql.err.OperationalError(number, "said")
    wrapped = sqlalchemy.exc.OperationalError("SELECT 1", {}, cause)
    wrapped.__cause__ = cause  # as SQLAlchemy raises it
    assert server.is_away(wrapped) == passes
    outer = optuna.exceptions.StorageInternalError("during the commit")
    outer.__cause__ = wrapped
    assert server.is_away(outer) == passes


def test_a_full_disk_of_postgresql_is_told_at_once():
    from psycopg import errors

    for error, passes in ((errors.DiskFull, False), (errors.AdminShutdown, True)):
        wrapped = sqlalchemy.exc.OperationalError("INSERT", {}, error("said"))
        assert server.is_away(wrapped) == passes


class Away(Exception):
    pass


class Plain:
    """Does what it is asked for, and then loses the answer."""

    def __init__(self, storage: Any, lost: int) -> None:
        self.storage, self.lost, self.n_calls = storage, lost, 0

    def _answer(self, value: Any) -> Any:
        self.n_calls += 1
        if self.n_calls <= self.lost:
            raise Away
        return value

    def create_new_trial(self, study_id: int) -> int:
        return self._answer(self.storage.create_new_trial(study_id))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        return self._answer(self.storage.set_trial_user_attr(trial_id, key, value))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any) -> bool:
        return self._answer(self.storage.set_trial_state_values(trial_id, state, values))

    def fail(self) -> None:
        self._answer(None)
        raise KeyError


@pytest.fixture
def memory() -> tuple[optuna.storages.InMemoryStorage, int]:
    storage = optuna.storages.InMemoryStorage()
    return storage, storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "mine")


@pytest.fixture
def losing(memory, monkeypatch) -> Callable[[int], Any]:
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.001)
    waits = patience.waits_for_server(lambda error: isinstance(error, Away))

    class Patient(Plain):
        pass

    return lambda lost: waits(Patient)(memory[0], lost)


def test_a_call_whose_answer_was_lost_is_made_again(memory, losing):
    storage, study_id = memory
    assert losing(2).create_new_trial(study_id) == 2
    assert [trial.state.name for trial in storage.get_all_trials(study_id)] == ["RUNNING"] * 3
    losing(2).set_trial_user_attr(2, "a", 1)
    assert storage.get_trial(2).user_attrs == {"a": 1}
    with pytest.raises(UpdateFinishedTrialError):
        losing(1).set_trial_state_values(2, TrialState.COMPLETE, [3.0])
    assert storage.get_trial(2).values == [3.0]


def test_other_errors_are_not_tried_again(losing):
    storage = losing(0)
    with pytest.raises(KeyError):
        storage.fail()
    assert storage.n_calls == 1


def test_patience_ends(losing, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(Away):
        losing(10**6).fail()


def test_who_is_impatient_is_told_at_once(losing):
    storage = losing(1)
    with patience.impatient(), pytest.raises(Away):
        storage.fail()
    assert storage.n_calls == 1
    with pytest.raises(KeyError):
        losing(1).fail()


@pytest.mark.slow
def test_a_worker_that_opens_its_storage_waits_for_a_server_that_restarts(tmp_path, monkeypatch):
    """The worker was killed, and is started again while the server is away."""
    behind = f"sqlite:///{tmp_path}/study.db"
    with serve(behind) as server_:
        url = server_.url()
        optuna.create_study(storage=open_storage(url, mode="worker"), study_name="mine")
        server_.kill()
    again: list[Serve] = []

    def restart(seconds: float) -> None:
        again.append(Serve(behind, "--port", url.rpartition(":")[2]))
        again[-1].url()

    monkeypatch.setattr("batchfront.storage.proxy.CONNECT_SECONDS", 0.2)
    clock = SimpleNamespace(sleep=restart, monotonic=time.monotonic)
    monkeypatch.setattr("batchfront.storage.patience.time", clock)
    try:
        with pytest.raises(StorageError, match="no gRPC server answers"):
            open_storage(url, mode="worker")  # whoever types a wrong port is told at once
        storage = waiting_for_server(url, lambda: open_storage(url, mode="worker"))
        assert optuna.get_all_study_names(storage) == ["mine"]
    finally:
        for one in again:
            one.kill()


@pytest.mark.mysql
def test_a_database_that_goes_while_its_tables_are_looked_at_is_asked_again(monkeypatch):
    import pymysql

    exists = server.exists
    lost = pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
    errors = [sqlalchemy.exc.OperationalError("DESCRIBE", {}, lost)]

    def cut_off(url: Any) -> bool:
        if errors:
            raise errors.pop()
        return exists(url)

    monkeypatch.setattr(server, "exists", cut_off)
    with database("mysql") as url:
        open_storage(url, mode="worker")
        assert waiting_for_server(url, lambda: is_there(url))
    assert errors == []
