"""What a search proposes where it has a budget."""

from __future__ import annotations

import optuna
import pytest

from batchfront.study.plan.goal import Goal
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.by_name import make_sampler
from batchfront.study.search.spending import Spending, spending_of
from batchfront.study.trials.attributes import batch_size_of
from batchfront.study.trials.hardware import PROBING

from ..cost_aware import cost, limits_of, new_study, tell

SPACE = SearchSpace(batch_sizes=(1, 8, 16, 32, 64))
N = 14


def _drawn(affordable: float | None, sampler: str = "cost-aware"):
    limits = limits_of(SPACE.batch_sizes, affordable_seconds=affordable)
    study = new_study(SPACE, limits=limits)
    study.sampler = make_sampler(
        sampler,
        space=SPACE,
        seed=0,
        hardware="here",
        limits=lambda study: limits,
        has_budget=True,
    )
    for _ in range(N):
        tell(study, study.ask(SPACE.distributions()))
    return [trial.params for trial in study.trials]


def test_until_it_would_run_what_is_too_dear_the_search_is_the_one_without_a_budget():
    free, most = _drawn(None), cost(1)[0] - 1
    first = next(n for n, params in enumerate(free) if cost(batch_size_of(params))[0] > most)
    kept = _drawn(most)
    assert 6 < first < N  # beyond the cheap start
    assert kept[:first] == free[:first]
    assert batch_size_of(kept[first]) != 1
    assert _drawn(1e9) == free


@pytest.mark.parametrize("sampler", ["cost-aware", "tpe", "nsgaii", "qmc", "random", "grid"])
def test_nothing_is_proposed_that_is_too_dear(sampler):
    sizes = {batch_size_of(params) for params in _drawn(cost(16)[0], sampler)}
    assert sizes <= {16, 32, 64}
    assert len(sizes) > 1


def test_what_is_spent_reserved_and_left_are_seconds_of_training():
    study, limits = new_study(SPACE), limits_of(SPACE.batch_sizes)
    for seconds in (3.0, 4.0):
        tell(study, study.ask(SPACE.distributions()), measured_seconds=seconds)
    study.set_user_attr(PROBING + "here", 2.0)
    study.ask(SPACE.distributions())  # it runs
    running = cost(batch_size_of(study.trials[-1].params))[0]
    found = spending_of(study, study.trials, Goal(budget=30.0), limits)
    assert found == Spending(budget=30.0, spent=7.0, reserved=running)
    assert found.left == 30.0 - 7.0 - running
    total = spending_of(study, study.trials, Goal(budget=30.0, is_total=True), limits)
    assert total.spent == pytest.approx(9.0, abs=0.1)
    assert spending_of(study, study.trials, Goal(), limits) is None


def test_where_everything_counts_a_second_of_training_costs_more():
    study, limits = new_study(SPACE), limits_of(SPACE.batch_sizes)
    trial = study.ask(SPACE.distributions())
    tell(study, trial, measured_seconds=1e-6)  # of a trial that took a thousand times as long
    found = spending_of(study, study.trials, Goal(budget=30.0, is_total=True), limits)
    frozen = study.trials[0]
    took = (frozen.datetime_complete - frozen.datetime_start).total_seconds()
    assert found.overhead == pytest.approx(took / 1e-6)
    assert found.left == pytest.approx((30.0 - took) / found.overhead)
    assert frozen.state == optuna.trial.TrialState.COMPLETE
