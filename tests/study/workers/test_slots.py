"""Exactly the total, also where workers claim without a lock."""

from __future__ import annotations

from contextlib import contextmanager

import optuna
import pytest

from batchfront.storage.sqlite import SqliteStorage
from batchfront.study.cli.main import main
from batchfront.study.opening import create
from batchfront.study.trials.attributes import FAIL_REASON, PURPOSE, ROOT, SURPLUS
from batchfront.study.workers.next_trial import NextTrial
from batchfront.study.workers.retry import has_slot, lost_runs

from ..conftest import ask

RUN = ["run", "--task", "planted.py", "--epochs", "2", "--batch-sizes", "4:8",
       "--sampler", "random", "--n-trials", "3"]  # fmt: skip


@contextmanager
def no_lock(*_):
    """As where a holder that stands still is passed by."""
    yield False


@pytest.fixture
def overtaken(monkeypatch):
    """Another command claims, and ends, the last trial between our count and our asking."""
    ours = NextTrial._ask
    overtaken: list[str] = []

    def late(self):
        if self.n_finished == 2 and not overtaken:
            overtaken.append("now")
            assert main(RUN) == 0
        return ours(self)

    monkeypatch.setattr(NextTrial, "_ask", late)
    monkeypatch.setattr(SqliteStorage, "claim_lock", no_lock)
    return overtaken


def test_who_is_overtaken_without_a_lock_gives_its_trial_up(workdir, rows, overtaken):
    assert main(RUN) == 0
    assert overtaken
    assert rows("ls")[0]["n_trials"] == 3
    dropped = [row for row in rows("export") if row["fail_reason"] == SURPLUS]
    assert [row["state"] for row in dropped] == ["FAIL"]


def test_a_run_that_found_no_slot_is_queued_again_and_a_new_point_is_not(shared_study):
    for attributes in ({}, {ROOT: 0}):
        trial = ask(shared_study)
        for key, value in {**attributes, FAIL_REASON: SURPLUS}.items():
            trial.set_user_attr(key, value)
        shared_study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert [trial.number for trial in lost_runs(shared_study.get_trials())] == [1]


@pytest.mark.parametrize(("n_trials", "stay"), [(5, 2), (4, 1), (3, 0), (9, 6)])
def test_of_all_who_ask_at_once_the_lowest_numbers_stay(shared_study, n_trials, stay):
    for _ in range(3):
        trial = ask(shared_study)
        shared_study.tell(trial, [0.5, 1.0, 1.0])
    failed = ask(shared_study)
    failed.set_user_attr(FAIL_REASON, SURPLUS)
    shared_study.tell(failed, state=optuna.trial.TrialState.FAIL)
    asked = [ask(shared_study) for _ in range(6)]
    trials = shared_study.get_trials()
    found = [trial.number for trial in asked if has_slot(trial, trials, n_trials)]
    assert found == [trial.number for trial in asked[:stay]]


def test_what_a_protocol_has_asked_for_takes_no_slot_of_the_search(shared_study):
    for ends in (True, False):
        trial = ask(shared_study)
        trial.set_user_attr(PURPOSE, "confirm")
        if ends:
            shared_study.tell(trial, [0.5, 1.0, 1.0])
    searched = ask(shared_study)
    assert has_slot(searched, shared_study.get_trials(), 1)


def test_two_that_make_a_study_at_once_without_a_lock_give_it_one_identity(
    workdir, rows, monkeypatch
):
    """Another command makes it and runs a trial while ours is half made."""
    made, ours = [], create.store_costs

    def late(*args):
        if not made:
            made.append("now")
            assert main([*RUN[:-1], "1"]) == 0
        ours(*args)

    monkeypatch.setattr(SqliteStorage, "claim_lock", no_lock)
    monkeypatch.setattr(create, "store_costs", late)
    assert main(RUN) == 0
    assert made
    assert rows("ls")[0]["n_trials"] == 3
