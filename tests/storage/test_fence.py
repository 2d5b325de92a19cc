"""Writes of a worker whose study was deleted, or whose trial is another's, change nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from batchfront.storage.fence import IDENTITY, OWNER, Fence, StudyGone
from batchfront.storage.open import open_storage
from batchfront.storage.shared import SharedStorage
from tests.storage.test_contract import ALL, made

ME, OTHER = {"host": "here", "pid": 1, "boot": None}, {"host": "there", "pid": 1, "boot": None}


@pytest.fixture(scope="module", params=ALL)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with made(request.param, Path(tmp_path_factory.mktemp("fence"))) as found:
        yield found


def create(url: str, name: str) -> optuna.Study:
    """As a process of its own would."""
    study = optuna.create_study(
        storage=open_storage(url, mode="worker"), study_name=name, directions=["maximize"] * 2
    )
    study.set_user_attr(IDENTITY, uuid.uuid4().hex)
    return study


def guarded(url: str, name: str) -> tuple[SharedStorage, optuna.Study]:
    """A worker's view of a study."""
    storage = open_storage(url, mode="worker")
    study = optuna.load_study(storage=storage, study_name=name)
    storage.fence = Fence(
        study_name=name, study_id=study._study_id, identity=study.user_attrs[IDENTITY]
    )
    return storage, study


def tell(storage: SharedStorage, trial_id: int, owner: dict[str, Any] = ME) -> None:
    with storage.owned(trial_id, owner):
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.99, 1.0])


def test_a_worker_of_a_deleted_study_writes_nothing_into_the_next_one_of_its_name(url):
    """Which has the same ids, on SQLite."""
    old = create(url, "again")
    storage, study = guarded(url, "again")
    trial = study.ask()
    storage.set_trial_attrs(trial._trial_id, {OWNER: ME})
    optuna.delete_study(study_name="again", storage=old._storage)
    new = create(url, "again")
    theirs = new.ask()
    theirs.set_user_attr(OWNER, ME)  # ids of processes are used again, too
    before = new.trials
    writes = [
        lambda: tell(storage, trial._trial_id),
        lambda: storage.set_trial_attrs(trial._trial_id, {"verdict": "completed"}),
        lambda: trial.set_user_attr("metric_curve", [0.5]),
    ]
    for write in writes:
        with pytest.raises(StudyGone, match="study 'again' was deleted"):
            write()
    with pytest.raises((StudyGone, KeyError)):  # before or after the storage looks at its id
        study.ask()
    with pytest.raises((StudyGone, KeyError)):
        study.set_user_attr("note", "of another study")
    assert new.trials == before
    assert "note" not in new.user_attrs
    optuna.delete_study(study_name="again", storage=new._storage)


def test_a_proxy_shows_the_trials_of_the_study_that_has_the_id_now(url):
    """And none that its cache remembers of a deleted one."""
    old = create(url, "shown")
    reader = open_storage(url, mode="worker")
    for _ in range(3):
        old.tell(old.ask(), [1.0, 2.0])
    assert len(optuna.load_study(storage=reader, study_name="shown").trials) == 3
    optuna.delete_study(study_name="shown", storage=reader)
    new = create(url, "shown")
    fresh = open_storage(url, mode="worker")
    assert optuna.load_study(storage=fresh, study_name="shown").trials == []
    new.ask()
    found = optuna.load_study(storage=open_storage(url, mode="worker"), study_name="shown").trials
    assert [trial.state for trial in found] == [TrialState.RUNNING]
    optuna.delete_study(study_name="shown", storage=new._storage)


def test_only_the_owner_of_a_trial_tells_it(url):
    """Ids are used again within a study, too, where a copy of before is put in its place."""
    create(url, "owned")
    storage, study = guarded(url, "owned")
    trial = study.ask()
    storage.set_trial_attrs(trial._trial_id, {OWNER: OTHER})
    with pytest.raises(UpdateFinishedTrialError):
        tell(storage, trial._trial_id)
    with storage.owned(trial._trial_id, ME), pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_attrs(trial._trial_id, {"verdict": "completed"})
    (found,) = study.trials
    assert (found.state, found.values, found.user_attrs) == (
        TrialState.RUNNING, None, {OWNER: OTHER}
    )  # fmt: skip
    tell(storage, trial._trial_id, OTHER)
    assert study.trials[0].values == [0.99, 1.0]
