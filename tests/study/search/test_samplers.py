"""Stock samplers in our kind of study: seeds, resumes, stopped trials."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.samplers import (
    GPSampler,
    GridSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.choices import SAMPLERS
from batchfront.study.plan.limits import Limits
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.by_name import make_sampler
from batchfront.study.search.cost_aware import CostAwareSampler
from batchfront.study.search.placed import PlacedSampler
from batchfront.study.search.samplers import (
    EndlessGrid,
    PerTrialSampler,
    ProjectedSampler,
    projected,
)
from batchfront.study.trials.attributes import (
    CONSTRAINT,
    SO_FAR,
    VERDICT,
    derive_seed,
    log2_batch_size_of,
)

from ..known import costs_by

SPACE = SearchSpace()
DIRECTIONS = ["maximize", "minimize", "minimize"]


def _cost(size: int) -> tuple[float, float]:
    """Seconds of a run and bytes."""
    return 1.0 / (1 + math.log2(size)), 100.0 + size


def _limits(study=None) -> Limits:
    costs = costs_by(_cost, SPACE.batch_sizes)
    return Limits(costs=costs, budgets=Budgets(), failed_size=None, device_bytes=2**40)


def _sampler(name, *, seed=0, limits=_limits):
    return make_sampler(name, space=SPACE, seed=seed, hardware="here", limits=limits)


CLASSES = {
    "cost-aware": CostAwareSampler,
    "tpe": TPESampler,
    "nsgaii": NSGAIISampler,
    "nsgaiii": NSGAIIISampler,
    "gp": GPSampler,
    "qmc": QMCSampler,
    "random": RandomSampler,
    "grid": GridSampler,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_name_gives_the_sampler_of_that_name(name):
    sampler = _sampler(name)
    while isinstance(sampler, EndlessGrid | PerTrialSampler | PlacedSampler | ProjectedSampler):
        sampler = sampler.inner
    assert type(sampler) is CLASSES[name]


def _run(study, n, *, name="tpe", seed=0):
    """Ask and tell like a worker; the fastest corner of the space diverges."""
    study.sampler = _sampler(name, seed=seed)
    for _ in range(n):
        trial = study.ask(SPACE.distributions())
        size, rate = log2_batch_size_of(trial.params), trial.params["learning_rate"]
        if _diverges(trial.params):
            trial.set_user_attr(SO_FAR, [0.1, 1.0 / (1 + size), 100.0])
            trial.set_user_attr(VERDICT, "diverged")
            trial.set_constraint(CONSTRAINT, 3.0)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_constraint(CONSTRAINT, 0.0)
            study.tell(trial, [1 - abs(rate - 0.1), 1.0 / (1 + size), 100.0 + 2**size])
    return [t.params for t in study.trials]


def _diverges(params):
    return params["learning_rate"] > 0.05 * 2 ** (log2_batch_size_of(params) / 2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_interrupted_search_goes_on_with_the_points_of_an_uninterrupted_one(name):
    n = 11 if name == "gp" else 24  # its first ten are random, and others take seconds
    whole = _run(optuna.create_study(directions=DIRECTIONS), n, name=name)
    study = optuna.create_study(directions=DIRECTIONS)
    _run(study, n - 10, name=name)
    resumed = _run(study, 10, name=name)
    assert resumed == whole
    assert len({tuple(p.items()) for p in resumed}) == n, "a resume drew a point twice"


def test_another_seed_draws_other_points():
    draws = [_run(optuna.create_study(directions=DIRECTIONS), 5, seed=s) for s in (0, 1)]
    assert draws[0] != draws[1]


def test_trial_seeds_differ_by_study_seed_number_and_purpose():
    seeds = {
        derive_seed(seed, number, purpose=purpose)
        for seed in range(10)
        for number in range(100)
        for purpose in ("trial", "sampler")
    }
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(
    "name", ["cost-aware", "tpe", "nsgaii", "nsgaiii", pytest.param("gp", marks=pytest.mark.slow)]
)
def test_samplers_learn_from_stopped_trials(name):
    """About a third of the box diverges; GPSampler alone would go back there every time."""
    n = {"cost-aware": 60, "tpe": 120, "gp": 20}.get(name, 150)  # NSGA-II's first 50 are random
    study = optuna.create_study(directions=DIRECTIONS)
    n_before = 15 if name == "gp" else n // 2  # each of its draws takes seconds
    _run(study, n_before, name="random" if name == "gp" else name)
    later = _run(study, n - n_before, name=name)[n_before:]
    assert sum(map(_diverges, later)) / len(later) < 0.25


def test_tpe_does_not_propose_where_others_run():
    """Four workers are where it would go; trials that failed there keep it from nothing."""

    def proposed(params, state):
        study = optuna.create_study(directions=DIRECTIONS)
        _run(study, 14)
        others = optuna.create_trial(
            state=state, params=params, distributions=SPACE.distributions()
        )
        study.add_trials([others] * 4)
        return study.ask(SPACE.distributions()).params

    place = proposed({"batch_size": 1, "learning_rate": 1e-4}, TrialState.FAIL)
    assert proposed(place, TrialState.FAIL) == place
    assert proposed(place, TrialState.RUNNING) != place


@pytest.mark.parametrize("after", SAMPLERS)
def test_any_sampler_continues_the_study_of_another(after):
    study = optuna.create_study(directions=DIRECTIONS)
    _run(study, 12, name="tpe")
    more = 1 if after == "gp" else 3  # each of its draws takes seconds
    assert len(_run(study, more, name=after)) == 12 + more


def test_the_projected_view_keeps_numbers_and_completes_stopped_trials():
    study = optuna.create_study(directions=DIRECTIONS)
    _run(study, 20, name="random")
    running = study.ask(SPACE.distributions())
    view = projected(study)
    assert [t.number for t in view.trials] == list(range(21))
    assert [t.params for t in view.trials] == [t.params for t in study.trials]
    assert view.trials[running.number].state == TrialState.RUNNING
    worst = min(t.values[0] for t in study.trials if t.values)
    for ours, theirs in zip(view.trials, study.trials, strict=True):
        if theirs.state == TrialState.PRUNED:
            assert ours.state == TrialState.COMPLETE
            assert ours.constraints == {CONSTRAINT: 3.0}
            assert ours.values[0] >= worst
            assert ours.values[1:] == theirs.user_attrs[SO_FAR][1:]
