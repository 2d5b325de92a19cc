"""Trials read and written as plain rows are those that Optuna reads and writes itself."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel
from optuna.trial import FrozenTrial, TrialState, create_trial

from batchfront.storage import tables
from batchfront.storage.open import open_storage
from batchfront.storage.rdb import SharedRDBStorage
from batchfront.storage.schema import REVISION
from batchfront.storage.shared import SharedStorage
from tests import servers
from tests.storage.conftest import close
from tests.storage.test_contract import ATTRIBUTES, made

DIRECTIONS = ["maximize", "minimize", "minimize"]
DATA = Path(__file__).parents[1] / "data"
SPACE = {
    "whole": IntDistribution(0, 8),
    "steps": IntDistribution(1, 9, step=2),
    "rate": FloatDistribution(1e-5, 10.0, log=True),
    "share": FloatDistribution(0.0, 1.0, step=0.25),
    "choice": CategoricalDistribution([None, True, 1.5, 2, "größer"]),
}
COLUMNS = {
    "studies": ["study_id", "study_name"],
    "study_directions": ["study_direction_id", "direction", "study_id", "objective"],
    "study_system_attributes": ["study_system_attribute_id", "study_id", "key", "value_json"],
    "study_user_attributes": ["study_user_attribute_id", "study_id", "key", "value_json"],
    "trial_heartbeats": ["trial_heartbeat_id", "trial_id", "heartbeat"],
    "trial_intermediate_values": [
        "trial_intermediate_value_id", "trial_id", "step", "intermediate_value",
        "intermediate_value_type",
    ],
    "trial_params": ["param_id", "trial_id", "param_name", "param_value", "distribution_json"],
    "trial_system_attributes": ["trial_system_attribute_id", "trial_id", "key", "value_json"],
    "trial_user_attributes": ["trial_user_attribute_id", "trial_id", "key", "value_json"],
    "trial_values": ["trial_value_id", "trial_id", "objective", "value", "value_type"],
    "trials": [
        "trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete",
    ],
}  # fmt: skip


@pytest.fixture(params=["sqlite", *servers.ON_SERVERS])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedRDBStorage]:
    with made(request.param, tmp_path) as url:
        opened = open_storage(url, mode="worker")
        assert isinstance(opened, SharedRDBStorage)
        yield opened
        close(opened)


def _templates() -> list[FrozenTrial]:
    """Trials in all states, with all that a trial can hold."""
    params = {"whole": 3, "steps": 5, "rate": 0.01, "share": 0.75}
    drawn: list[dict[str, Any]] = [
        {
            "params": {**params, "choice": choice},
            "distributions": SPACE,
        }
        for choice in SPACE["choice"].choices  # type: ignore[attr-defined]
    ]
    odd = {"nan": math.nan, "infinite": [math.inf, -math.inf], "long": [0.1] * 5000}
    return [
        create_trial(
            state=TrialState.COMPLETE, values=[0.1 + 0.2, math.inf, -math.inf], **drawn[0]
        ),
        create_trial(
            state=TrialState.PRUNED,
            user_attrs={**ATTRIBUTES, **odd},
            system_attrs={"constraints:stopped": 0.5, "fixed_params": {"whole": 3}},
            intermediate_values={1: 0.5, 2: math.nan, 3: math.inf, 40: -math.inf},
            **drawn[1],
        ),
        create_trial(state=TrialState.FAIL, **drawn[2]),
        create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params}),
        create_trial(state=TrialState.COMPLETE, values=[0.0, 1e-300, 1e300], **drawn[3]),
        create_trial(state=TrialState.FAIL),
        create_trial(state=TrialState.PRUNED, values=[1.0, 2.0, 3.0], **drawn[4]),
    ]


def _fill(study: optuna.Study) -> None:
    for template in _templates():
        study.add_trial(template)
    study.ask({name: SPACE[name] for name in ("rate", "whole")}).set_user_attr("a", [1])
    study.enqueue_trial({"whole": 1}, user_attrs={"queued": True})


def _same(found: list[FrozenTrial], wanted: list[FrozenTrial]) -> bool:
    """As text, since NaN equals nothing; distributions and the order of params, too."""
    order = [(list(t.params), list(t.distributions)) for t in found]
    return sorted(map(_text, found)) == sorted(map(_text, wanted)) and order == [
        (list(t.params), list(t.distributions)) for t in wanted
    ]


def _text(trial: FrozenTrial) -> str:
    fields = vars(trial)
    attributes = ("_user_attrs", "_system_attrs", "intermediate_values")
    return repr({**fields, **{name: sorted(fields[name].items()) for name in attributes}})


def _optunas(storage: SharedRDBStorage, study_id: int, **asked: Any) -> list[FrozenTrial]:
    asked = {
        "states": None, "included_trial_ids": set(), "trial_id_greater_than": -1, **asked,
    }  # fmt: skip
    return RDBStorage._get_trials(storage, study_id, **asked)


def test_every_field_of_every_trial_is_what_optuna_reads(storage):
    others = [optuna.create_study(storage=storage, directions=DIRECTIONS) for _ in range(2)]
    study = optuna.create_study(storage=storage, directions=DIRECTIONS)
    for one in (others[0], study, others[1], study):  # ids of a study need not be neighbours
        _fill(one)
    wanted = _optunas(storage, study._study_id)
    assert {trial.state for trial in wanted} == set(TrialState)
    assert _same(storage.get_all_trials(study._study_id), wanted)
    assert _same(study.trials, wanted)
    assert study.trials[0].values == [0.1 + 0.2, math.inf, -math.inf]


def test_what_is_asked_for_is_what_optuna_would_give(storage):
    study = optuna.create_study(storage=storage, directions=DIRECTIONS)
    _fill(study)
    ids = [trial._trial_id for trial in study.trials]
    for asked in (
        {"states": (TrialState.RUNNING, TrialState.WAITING)},
        {"states": ()},
        {"trial_id_greater_than": ids[3]},
        {"trial_id_greater_than": ids[5], "included_trial_ids": {ids[0], ids[2], ids[7]}},
        {"trial_id_greater_than": ids[-1], "included_trial_ids": set()},
        {"trial_id_greater_than": ids[-1], "included_trial_ids": {ids[3]}},
    ):
        wanted = _optunas(storage, study._study_id, **asked)
        ours = {"states": None, "included_trial_ids": set(), "trial_id_greater_than": -1, **asked}
        assert _same(storage._get_trials(study._study_id, **ours), wanted), asked
    with pytest.raises(KeyError):
        storage.get_all_trials(study._study_id + 1)


def test_many_trials_are_read_as_few(storage, monkeypatch):
    monkeypatch.setattr(tables, "AT_A_TIME", 4)
    study = optuna.create_study(storage=storage, directions=DIRECTIONS)
    _fill(study)
    wanted = _optunas(storage, study._study_id)
    assert _same(storage.get_all_trials(study._study_id), wanted)
    few = {trial._trial_id for trial in wanted[:6]}
    asked: dict[str, Any] = {"included_trial_ids": few, "trial_id_greater_than": max(few)}
    found = storage._get_trials(study._study_id, None, **asked)
    assert _same(found, wanted)


def test_a_cache_of_optuna_sees_what_others_change(storage):
    study = optuna.create_study(storage=storage, directions=DIRECTIONS)
    looking = optuna.load_study(study_name=study.study_name, storage=storage)
    first, second = (study.ask(SPACE) for _ in range(2))
    assert [trial.state for trial in looking.trials] == [TrialState.RUNNING] * 2
    study.tell(second, (1.0, 2.0, 3.0))
    first.set_user_attr("curve", [0.5])
    assert _same(looking.trials, _optunas(storage, study._study_id))
    study.tell(first, state=TrialState.FAIL)
    _fill(study)
    assert _same(looking.trials, _optunas(storage, study._study_id))


def test_trials_that_are_added_at_once_are_those_added_one_by_one(storage):
    one_by_one, at_once, other = (
        optuna.create_study(storage=storage, directions=DIRECTIONS) for _ in range(3)
    )
    templates = _templates()
    for template in templates:
        one_by_one.add_trial(template)
    for some in (templates[:3], templates[3:], []):
        storage.add_trials(at_once._study_id, some)
        other.add_trial(create_trial(state=TrialState.FAIL))
    found, wanted = (_optunas(storage, s._study_id) for s in (at_once, one_by_one))
    assert [trial.number for trial in found] == list(range(len(templates)))
    for mine, theirs in zip(found, wanted, strict=True):
        mine._trial_id = theirs._trial_id
    assert _same(found, wanted)
    at_once.add_trial(templates[0])
    assert at_once.trials[-1].number == len(templates)


def test_nothing_is_added_where_one_trial_cannot_be(storage):
    study = optuna.create_study(storage=storage, directions=DIRECTIONS)
    study.add_trial(_templates()[0])
    other = create_trial(
        state=TrialState.FAIL,
        params={"whole": "a"},
        distributions={"whole": CategoricalDistribution(["a", "b"])},
    )
    with pytest.raises(ValueError, match="distribution"):
        study.add_trial(other)
    before = _optunas(storage, study._study_id)
    with pytest.raises(ValueError, match="distribution"):
        storage.add_trials(study._study_id, [*_templates(), other])
    assert _same(_optunas(storage, study._study_id), before)
    with pytest.raises(KeyError):
        storage.add_trials(study._study_id + 1, _templates())


@pytest.mark.parametrize("golden", sorted(DATA.glob("golden-*.db")), ids=lambda path: path.stem)
def test_studies_of_older_versions_are_read_as_optuna_reads_them(golden, tmp_path):
    copy = Path(shutil.copy(golden, tmp_path))
    ours = open_storage(f"sqlite:///{copy}", mode="reader")
    plain = RDBStorage(f"sqlite:///{copy}")
    names = optuna.get_all_study_names(plain)
    assert names
    for name in names:
        found = optuna.load_study(study_name=name, storage=ours).trials
        assert _same(found, optuna.load_study(study_name=name, storage=plain).trials)


def test_optuna_stores_trials_as_this_version_knows_it(tmp_path):
    """Where this fails, compare storage/tables.py and glance.py with Optuna's own storage."""
    found = {name: list(table.columns.keys()) for name, table in BaseModel.metadata.tables.items()}
    assert {name: columns for name, columns in found.items() if name in COLUMNS} == COLUMNS
    told_apart = {name for name in found if name.startswith("trial")}
    assert told_apart <= set(COLUMNS), "there is a table of trials that nobody reads"
    storage = RDBStorage(f"sqlite:///{tmp_path}/new.db")
    assert storage.get_head_version() == REVISION
    parts = {"values", "params", "user_attributes", "system_attributes", "intermediate_values"}
    from optuna.storages._rdb.models import TrialModel

    assert set(TrialModel.__mapper__.relationships.keys()) == {*parts, "study", "heartbeats"}


def test_trials_are_counted_by_their_states(storage):
    study, other, empty = (
        optuna.create_study(storage=storage, directions=DIRECTIONS) for _ in range(3)
    )
    _fill(study)
    other.ask()
    wanted = Counter(trial.state for trial in study.trials)
    assert storage.count_trials(study._study_id) == wanted
    assert SharedStorage.count_trials(storage, study._study_id) == wanted
    assert storage.count_trials(empty._study_id) == {}
