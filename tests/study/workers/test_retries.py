"""What becomes of the trial of a worker that died: who queues it again, and what it inherits."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from batchfront.objectives.measurement import Verdict
from batchfront.storage.open import open_storage
from batchfront.study.machine.process import is_dead, this_process
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.choices import SAMPLERS
from batchfront.study.plan.limits import Excuse, Limits
from batchfront.study.plan.space import SearchSpace
from batchfront.study.quiet import quiet_optuna
from batchfront.study.search.by_name import make_sampler
from batchfront.study.trials.attributes import (
    CONSTRAINT,
    DEATHS,
    DOUBLE,
    ERROR,
    FAIL_REASON,
    INTERRUPTED,
    OWNER,
    ROOT,
    is_finished,
)
from batchfront.study.workers.ledger import Ledger
from batchfront.study.workers.retry import BEAT, LEASE, fail_dead, mend_queue, queue_again
from batchfront.study.workers.silence import Silence

from ..conftest import ask


def look(url: str, study: optuna.Study) -> None:
    """What a claim begins with, where nobody holds a lock."""
    storage = open_storage(url, mode="worker")
    fail_dead(storage, study.get_trials(), alone=False)
    mend_queue(storage, study, study.get_trials())


def owned(study: optuna.Study, owner: dict[str, Any]) -> optuna.Trial:
    trial = ask(study)
    trial.set_user_attr(OWNER, owner)
    return trial


def test_a_dead_workers_trial_is_queued_once_whoever_looks_and_when(shared_study, shared_url):
    """Six look at once without a lock, as on gRPC; whatever they queue, one of it is left."""
    trial = owned(shared_study, {**this_process(), "pid": 2**22 - 1})
    start = threading.Barrier(6)

    def reap(_: int) -> None:
        storage = open_storage(shared_url, mode="worker")
        mine = optuna.load_study(study_name="mine", storage=storage)
        start.wait()
        look(shared_url, mine)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(reap, range(6)))
    look(shared_url, shared_study)
    first, *others = shared_study.trials
    (second,) = [t for t in others if t.state == TrialState.WAITING]
    assert first.state == TrialState.FAIL
    assert second == others[0]
    assert second.params == trial.params
    assert {t.user_attrs[FAIL_REASON] for t in others[1:]} <= {DOUBLE}
    assert [t.number for t in shared_study.trials if is_finished(t)] == []


def test_a_run_that_was_failed_and_not_queued_is_queued_by_whoever_looks_next(
    shared_study, shared_url
):
    """Its worker, or who missed it, died between the two writes."""
    for reason in (None, INTERRUPTED, ERROR):
        trial = owned(shared_study, this_process())
        if reason is not None:
            trial.set_user_attr(FAIL_REASON, reason)
        shared_study.tell(trial, state=TrialState.FAIL)
    for _ in range(2):
        look(shared_url, shared_study)
    died, handed_back, _, *queued = shared_study.trials
    assert [(t.state, t.user_attrs[ROOT], t.user_attrs[DEATHS]) for t in queued] == [
        (TrialState.WAITING, died.number, 1),
        (TrialState.WAITING, handed_back.number, 0),
    ]


def test_a_trial_that_somebody_else_failed_stays_failed(shared_study, shared_url):
    """Asked for and told through Optuna: no worker of ours ever ran it."""
    shared_study.tell(ask(shared_study), state=TrialState.FAIL)
    look(shared_url, shared_study)
    assert len(shared_study.trials) == 1


@pytest.mark.filterwarnings("ignore:.*RetryHeartbeatStaleTrialCallback")
def test_the_history_of_a_retry_is_where_optuna_looks_for_it(shared_study):
    """Compared with Optuna's own callback, twice in a row."""
    ask(shared_study)
    own, theirs = shared_study, optuna.create_study(directions=["maximize", "minimize", "minimize"])
    theirs.add_trial(shared_study.trials[0])
    callback = RetryHeartbeatStaleTrialCallback()
    for _ in range(2):
        queue_again(own, own.trials[-1], n_deaths=1)
        callback(theirs, theirs.trials[-1])
    mine, expected = own.trials[-1], theirs.trials[-1]
    assert (mine.params, mine.system_attrs) == (expected.params, expected.system_attrs)
    assert RetryHeartbeatStaleTrialCallback.retry_history(mine) == [0, 1]
    assert mine.user_attrs[ROOT] == 0


def test_a_retry_inherits_nothing_that_was_measured_and_the_point_of_a_grid(shared_study):
    shared_study.sampler = make_sampler(
        "grid", space=SearchSpace(), seed=0, hardware="", limits=lambda study: None
    )
    trial = shared_study.ask(SearchSpace().distributions())
    trial.set_user_attr("verdict", "diverged")
    trial.set_constraint(CONSTRAINT, 3.0)  # death came between this and tell
    queue_again(shared_study, shared_study.trials[0], n_deaths=1)
    again = shared_study.trials[1]
    assert "grid_id" in again.system_attrs
    assert (again.constraints, set(again.user_attrs)) == ({}, {ROOT, DEATHS})
    retried = ask(shared_study)
    retried.set_constraint(CONSTRAINT, 0.0)
    assert shared_study.trials[1].constraints == {CONSTRAINT: 0.0}
    assert retried.params == trial.params


def test_three_retries_then_it_stays_failed_and_counts(shared_study, shared_url):
    for n_deaths in range(4):
        owned(shared_study, {**this_process(), "pid": 2**22 - 1})
        look(shared_url, shared_study)
        assert sum(map(is_finished, shared_study.trials)) == (n_deaths == 3)
    assert [t.state for t in shared_study.trials] == [TrialState.FAIL] * 4
    assert [t.user_attrs.get(DEATHS, 0) for t in shared_study.trials] == [0, 1, 2, 3]


def beating(number: int, beat: int | None, *, owned: bool = True, lease: float = 0) -> Any:
    attributes = {OWNER: {}} if owned else {}
    signs = {} if beat is None else {BEAT: beat, LEASE: lease}
    return SimpleNamespace(
        number=number, _trial_id=number, system_attrs=signs, user_attrs=attributes
    )


def test_silence_is_measured_from_the_last_new_sign_by_the_watchers_clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("batchfront.study.workers.silence.time.monotonic", lambda: now[0])
    silence = Silence(10)

    def after(seconds: float, *trials: Any, clocks: dict[int, Any] | None = None) -> list[int]:
        now[0] += seconds
        return [t.number for t in silence.too_long(list(trials), clocks or {}, now[0])]

    assert after(0, beating(0, 1), beating(1, 7)) == []
    assert after(9, beating(0, 1), beating(1, 8)) == []
    assert after(2, beating(0, 1), beating(1, 8)) == [0]
    assert after(7, beating(1, 8)) == []
    assert after(2, beating(1, 8)) == [1]
    assert after(50, beating(2, None)) == []  # gives no sign: a version of before
    assert after(50, beating(2, None)) == []
    assert after(0, beating(3, None, owned=False)) == []
    assert after(11, beating(3, None, owned=False)) == [3]  # died before it wrote its name
    assert after(0, beating(4, 1, lease=30)) == []
    assert after(29, beating(4, 1, lease=30)) == []  # it asked to be waited for
    assert after(2, beating(4, 1, lease=30)) == [4]
    silence.forget()
    assert after(50, beating(1, 8)) == []


def test_a_clock_that_is_set_ends_nobodys_trial(monkeypatch):
    """What a database wrote an hour ago, by its clock, is a new sign like any other."""
    now = [100.0]
    monkeypatch.setattr("batchfront.study.workers.silence.time.monotonic", lambda: now[0])
    silence, trial = Silence(10), beating(0, None)
    for hour in (12, 13, 11, 12):
        assert silence.too_long([trial], {0: f"{hour}:00:00"}, now[0]) == []
        now[0] += 9.0
    now[0] += 3.0
    assert silence.too_long([trial], {0: "12:00:00"}, now[0]) == [trial]


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_sampler_of_ours_does_anything_after_a_trial(name):
    """The ledger tells trials without asking the sampler; here is why it may."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    limits = Limits(costs={}, budgets=Budgets(), failed_size=None, device_bytes=2**30)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    with quiet_optuna():
        study.sampler = make_sampler(
            name, space=SearchSpace(), seed=0, hardware="", limits=lambda study: limits
        )
        trial = ask(study)
        before = study.trials
        study.sampler.after_trial(study, before[0], TrialState.COMPLETE, [0.5, 1.0, 1.0])
    assert study.trials == before
    assert trial.number == 0


def test_where_a_worker_runs_is_told_by_more_than_the_hosts_name():
    """Containers share names, and have process ids of their own."""
    me = this_process()
    gone = {**me, "pid": 2**22 - 1}
    assert not is_dead(me)
    assert is_dead(gone)
    for key in ("host", "namespace", "boot"):
        assert not is_dead({**gone, key: "another"})
    old = {key: gone[key] for key in ("host", "pid", "started")}  # as versions before wrote it
    assert is_dead(old)
    assert os.getpid() == me["pid"]


def test_the_ledger_stores_a_constraint_as_optuna_does(shared_study, shared_url):
    """Optuna's own call is the oracle: it reads the trial first, so the ledger goes without."""
    ask(shared_study).set_constraint(CONSTRAINT, 2.5)
    trial = ask(shared_study)
    storage = open_storage(shared_url, mode="worker")
    plan = SimpleNamespace(budgets=Budgets())
    ledger = Ledger(storage=storage, study=shared_study, plan=plan)
    excuse = Excuse(verdict=Verdict.OUT_OF_MEMORY, grade=2.5, reason="it was full")
    ledger.out_of_memory(SimpleNamespace(trial=trial, cost=None), excuse)
    expected, found = shared_study.trials
    assert found.constraints == expected.constraints == {CONSTRAINT: 2.5}
    assert found.system_attrs == expected.system_attrs
    assert (found.state, found.user_attrs["reason"]) == (TrialState.PRUNED, "it was full")
