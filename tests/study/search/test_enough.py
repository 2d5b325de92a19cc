"""When more trials are expected to gain little."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from optuna.trial import TrialState

from batchfront.objectives.measurement import Verdict
from batchfront.study.plan.goal import Goal
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.ending import Ending
from batchfront.study.search.enough import Enough, Expected
from batchfront.study.search.outlook import EDGE, _volumes
from batchfront.study.trials.attributes import PURPOSE, batch_size_of
from benchmarks.hypervolume import hypervolume

from ..cost_aware import accuracy_at, limits_of, new_study, stop, tell

SPACE = SearchSpace(batch_sizes=(16, 32, 64))
LIMITS = limits_of(SPACE.batch_sizes)


def _searched(n: int, *, of=accuracy_at):
    """A study of so many trials, whose metric has the noise of seeds."""
    study, draw = new_study(SPACE, limits=LIMITS), np.random.default_rng(0)
    for _ in range(n):
        trial = study.ask(SPACE.distributions())
        error = (1 - of(trial.params)) * np.exp(0.1 * draw.standard_normal())
        tell(study, trial, 1 - error)
    return study


def _looking() -> Enough:
    return Enough(space=SPACE, seed=0, hardware="here")


@pytest.fixture(scope="module")
def searched():
    return _searched(30)


def test_a_search_begins_open_and_ends_when_its_sizes_are_known(searched):
    few = _looking().look(_searched(7), LIMITS)
    many = _looking().look(searched, LIMITS)
    assert not few.is_enough
    assert many.is_enough
    assert few.volume > many.volume


def test_what_is_said_at_the_end_is_true(searched):
    found = _looking().look(searched, LIMITS)
    for size in found.sizes:
        own = [t.params for t in searched.trials if batch_size_of(t.params) == size.batch_size]
        rates = np.geomspace(*SPACE.learning_rates, 500)
        best = max(accuracy_at({**own[0], "learning_rate": rate}) for rate in rates)
        assert best - max(map(accuracy_at, own)) <= size.tolerance


def test_a_size_that_has_not_run_is_open(searched):
    space = SearchSpace(batch_sizes=(16, 32, 64, 1024))
    found = Enough(space=space, seed=0, hardware="here").look(
        searched, limits_of(space.batch_sizes)
    )
    assert 1024 in {size.batch_size for size in found.open_sizes}


def test_sizes_that_may_not_run_are_nothing_to_wait_for(searched):
    space = SearchSpace(batch_sizes=(16, 32, 64, 1024))
    limits = limits_of(space.batch_sizes, failed_size=1024)
    found = Enough(space=space, seed=0, hardware="here").look(searched, limits)
    assert [size.batch_size for size in found.sizes] == [16, 32, 64]


def test_a_size_that_only_fails_is_given_up():
    study = new_study(SPACE, limits=LIMITS)
    for n in range(20):
        trial = study.ask(SPACE.distributions())
        if batch_size_of(trial.params) == 64:
            stop(study, trial, Verdict.DIVERGED.value, state=TrialState.PRUNED)
        else:
            tell(study, trial)
        if n < 3:
            study.enqueue_trial({"batch_size": 64, "learning_rate": 0.01 * (n + 1)})
    found = _looking().look(study, LIMITS)
    assert [size.batch_size for size in found.sizes] == [16, 32]


def test_what_is_enough_only_by_the_last_run_is_not(searched, monkeypatch):
    n_asked = []

    def expected(outlook, yardstick):
        n_asked.append(outlook)
        return Expected(volume=0.001 if len(n_asked) == 1 else 0.1, sizes=[], yardstick=yardstick)

    monkeypatch.setattr("batchfront.study.search.enough._expected", expected)
    assert not _looking().look(searched, LIMITS).is_enough
    assert len(n_asked) == 2


def test_whoever_comes_later_sees_what_one_sees_who_has_followed():
    study, following = new_study(SPACE, limits=LIMITS), _looking()
    for _ in range(14):
        tell(study, study.ask(SPACE.distributions()))
        seen = following.look(study, LIMITS)
    assert _looking().look(study, LIMITS) == seen


def test_what_another_question_has_run_is_no_secret_to_a_search():
    plan = SimpleNamespace(
        goal=Goal(is_auto=True), n_trials=150, space=SPACE, seed=0, hardware="here"
    )

    def expected(ending):
        return ending.of(study, LIMITS, n_finished=150).expected

    study, following = _searched(14), Ending(plan)
    before = expected(following)
    for rate in np.geomspace(*SPACE.learning_rates, 12):
        params = {"batch_size": SPACE.batch_sizes[0], "learning_rate": rate}
        study.enqueue_trial(params, user_attrs={PURPOSE: "smallest"})
        tell(study, study.ask(SPACE.distributions()))
    assert expected(following) == expected(Ending(plan)) != before


def test_while_no_trial_ends_nothing_is_computed_again(searched):
    looking = _looking()
    assert looking.look(searched, LIMITS) is looking.look(searched, LIMITS)


def test_volumes_are_those_of_points():
    draw = np.random.default_rng(1)
    errors, costs = draw.random((5, 4)), np.exp(draw.random((4, 2)))
    logs = np.log(costs)
    scaled = (logs - logs.min(axis=0)) / np.ptp(logs, axis=0)
    expected = [
        hypervolume(np.column_stack([row, scaled]).tolist(), (0.8, EDGE, EDGE)) for row in errors
    ]
    assert _volumes(np.minimum(errors, 0.8), costs, 0.8) == pytest.approx(expected)
