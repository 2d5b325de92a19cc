"""What every storage keeps to, run against all of them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from batchfront.storage import proxy
from batchfront.storage.errors import StorageError
from batchfront.storage.open import exists, open_storage, readable_errors
from tests import servers
from tests.storage.conftest import close
from tests.storage.processes import ask_often, content, open_and_create, write_all

LOCKING = ["sqlite", *servers.ON_SERVERS, "journal"]
ALL = [*LOCKING, "grpc"]
ATTRIBUTES: dict[str, Any] = {
    "text": "größer ≥ 大 🙂 'quoted' \"twice\" %s {} \\ \n \x00",
    "ключ": "a key that is not ASCII",
    "empty": "",
    "none": None,
    "yes": True,
    "whole": 2**40,
    "fraction": 0.1 + 0.2,
    "tiny": 5e-324,
    "list": [1, 2.5, None, "x", [True]],
    "nested": {"a": {"b": [1, {"c": None}]}},
    "long": "0123456789abcdef" * 1250,  # 20 kB
}


@contextlib.contextmanager
def made(kind: str, folder: Path) -> Iterator[str]:
    """A storage in which nothing has been made yet."""
    if kind in servers.VARIABLES:
        with servers.database(kind) as url:
            yield url
    elif kind == "grpc":
        with servers.serve(f"sqlite:///{folder}/served.db") as server:
            yield server.url()
    else:
        yield {
            "sqlite": f"sqlite:///{folder}/study.db",
            "journal": f"journal:///{folder}/study.log",
        }[kind]


@pytest.fixture(scope="module", params=ALL)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One of each kind for all tests, as they take long to make; the studies differ in name."""
    with made(request.param, tmp_path_factory.mktemp("storage")) as url:
        yield url


@pytest.fixture(params=LOCKING)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with made(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def name() -> str:
    return f"größe {uuid.uuid4().hex}"


@pytest.fixture
def storage(url: str) -> Iterator[Any]:
    storage = open_storage(url, mode="worker")
    yield storage
    if hasattr(storage, "engine"):
        close(storage)


def running_trial(storage: Any, name: str) -> optuna.Trial:
    return optuna.create_study(storage=storage, study_name=name).ask()


def attributes_of(storage: Any, trial: optuna.Trial) -> dict[str, Any]:
    return storage.get_trial(trial._trial_id).user_attrs


def test_what_one_process_writes_another_reads_back(url, name, team):
    team.one(write_all, url, name, ATTRIBUTES)
    found = content(url, name)
    assert found["study"] == {"für alle": ATTRIBUTES}
    assert found["directions"] == ["MAXIMIZE", "MINIMIZE"]
    assert found["user"] == ATTRIBUTES
    assert found["system"]["noted"] == ATTRIBUTES["nested"]
    assert found["values"] == [0.1 + 0.2, 1e-300]
    assert set(found["params"]) == {"log2_batch_size", "learning_rate", "activation"}
    assert found["distributions"]["learning_rate"] == optuna.distributions.FloatDistribution(
        1e-4, 3, log=True
    )
    assert found["state"] == "COMPLETE"
    assert None not in found["times"]
    assert found == team.one(content, url, name)


def test_a_reader_sees_what_a_worker_wrote(url, name, storage):
    trial = running_trial(storage, name)
    trial.set_user_attr("note", "x")
    reader = open_storage(url, mode="reader")
    assert exists(url)
    assert optuna.load_study(study_name=name, storage=reader).trials[0].user_attrs == {"note": "x"}


def test_four_processes_at_once_get_consecutive_numbers(url, name, storage, team):
    optuna.create_study(storage=storage, study_name=name)
    numbers = team.together(4, ask_often, url, name, 5)
    assert sorted(chain(*numbers)) == list(range(20))


def test_four_processes_get_each_queued_trial_once(url, name, storage, team):
    study = optuna.create_study(storage=storage, study_name=name)
    for n in range(40):
        study.enqueue_trial({"x": n})
    popped = team.together(4, ask_often, url, name, 10)
    assert sorted(chain(*popped)) == list(range(40))


def test_six_processes_may_make_a_storage_and_its_study_together(fresh, name, team):
    assert team.together(6, open_and_create, fresh, name) == [name] * 6


def test_attributes_written_at_once_equal_those_written_one_by_one(name, storage):
    oracle = optuna.storages.InMemoryStorage()
    kept, plain = running_trial(storage, name), running_trial(oracle, name)
    for attributes in (ATTRIBUTES, {}, {"text": "over", "new": 1}, {"list": None}):
        storage.set_trial_attrs(kept._trial_id, attributes)
        for key, value in attributes.items():
            oracle.set_trial_user_attr(plain._trial_id, key, value)
        assert attributes_of(storage, kept) == attributes_of(oracle, plain)


def test_attributes_of_other_trials_stay_as_they_are(name, storage):
    study = optuna.create_study(storage=storage, study_name=name)
    first, second = study.ask(), study.ask()
    storage.set_trial_attrs(first._trial_id, {"a": 1})
    storage.set_trial_attrs(second._trial_id, {"a": 2, "b": 2})
    assert [trial.user_attrs for trial in study.trials] == [{"a": 1}, {"a": 2, "b": 2}]


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
def test_a_finished_trial_is_not_written_again(name, storage, state):
    trial = running_trial(storage, name)
    trial.set_user_attr("before", 1)
    values = [1.0] if state == TrialState.COMPLETE else None
    assert storage.set_trial_state_values(trial._trial_id, state, values)
    for write in (
        lambda: storage.set_trial_attrs(trial._trial_id, {"before": 2, "after": 2}),
        lambda: storage.set_trial_user_attr(trial._trial_id, "after", 2),
        lambda: storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [2.0]),
        lambda: storage.set_trial_state_values(trial._trial_id, TrialState.FAIL),
    ):
        with pytest.raises(UpdateFinishedTrialError):
            write()
    found = storage.get_trial(trial._trial_id)
    assert (found.state, found.values, found.user_attrs) == (state, values, {"before": 1})


def test_a_trial_that_is_not_there_has_no_attributes(name, storage):
    trial = running_trial(storage, name)
    with pytest.raises(KeyError):
        storage.set_trial_attrs(trial._trial_id + 1000, {"a": 1})


HOLD = """
import sys, time
from batchfront.storage.open import open_storage
with open_storage(sys.argv[1], mode="worker").claim_lock(sys.argv[2]) as held:
    print(held, flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def holder(url: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the claim lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, url, name], stdout=subprocess.PIPE, text=True, cwd=servers.ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
    finally:
        process.kill()
        process.wait(60)


def taken(storage: Any, name: str, patience_seconds: float) -> bool:
    with storage.claim_lock(name, patience_seconds) as held:
        return held


@pytest.mark.parametrize("url", LOCKING, indirect=True)
def test_a_claim_lock_excludes_and_outlives_neither_death_nor_patience(url, name, storage):
    optuna.create_study(storage=storage, study_name=name)
    with holder(url, name) as process:
        assert not taken(storage, name, 0.2)
        process.send_signal(signal.SIGSTOP)  # passed by: it may stand still for ever
        assert not taken(storage, name, 0.2)
        process.send_signal(signal.SIGKILL)
        assert taken(storage, name, 20)
    assert taken(storage, name, 0.2)


@pytest.mark.parametrize("url", LOCKING, indirect=True)
def test_a_claim_lock_is_freed_by_an_error_and_its_holder_may_write(name, storage):
    def fail() -> None:
        with storage.claim_lock(name) as held:
            assert held
            running_trial(storage, name)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert taken(storage, name, 0.2)


@pytest.mark.parametrize("url", ["grpc"], indirect=True)
def test_a_proxy_has_no_claim_lock_and_says_so(name, storage):
    assert not taken(storage, name, 30)
    with storage.claim_lock(name) as first, storage.claim_lock(name) as second:
        assert (first, second) == (False, False)


def test_a_reader_of_nothing_says_so_and_makes_nothing(fresh, tmp_path):
    for _ in range(2):
        assert not exists(fresh)
        with pytest.raises(StorageError, match="the first run creates"), readable_errors(fresh):
            open_storage(fresh, mode="reader")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["worker", "reader"])
def test_a_proxy_that_is_not_there_is_told_with_how_to_start_it(mode, monkeypatch):
    monkeypatch.setattr(proxy, "CONNECT_SECONDS", 0.3)
    with pytest.raises(StorageError, match=r"answers on 127.0.0.1:1: start one .*batchfront serve"):
        open_storage("grpc://127.0.0.1:1", mode=mode)
