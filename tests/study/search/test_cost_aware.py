"""The default sampler, asked and told as a worker would."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from batchfront.objectives.curves.table import read_table
from batchfront.objectives.parameter import Parameter
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.sizes import powers_of_two
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.chances import news
from batchfront.study.search.known import N_START
from batchfront.study.search.surface import Guess, usual_shape
from batchfront.study.trials.attributes import (
    CONSTRAINT,
    ERROR,
    FAIL_REASON,
    HARDWARE,
    UNPROBED,
    batch_size_of,
    log2_batch_size_of,
)
from benchmarks.search import play_study

from ..conftest import ROOT
from ..cost_aware import SPACE, accuracy_at, cost, limits_of, new_study, stop, tell


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _run(study, n, space=SPACE):
    for _ in range(n):
        tell(study, study.ask(space.distributions()))
    return [trial.params for trial in study.trials]


@pytest.fixture(scope="module")
def thirty() -> optuna.Study:
    """Thirty trials of the usual study, to be looked at."""
    study = new_study()
    _run(study, 30)
    return study


def test_the_start_is_cheap_and_fills_the_learning_rates(thirty):
    params = [trial.params for trial in thirty.trials[:N_START]]
    seconds = [cost(batch_size_of(p))[0] for p in params]
    assert np.mean(seconds) < np.mean([cost(size)[0] for size in SPACE.batch_sizes]) / 3
    logs = sorted(math.log10(p["learning_rate"]) for p in params)
    assert max(np.diff([-4, *logs, math.log10(3)])) < 2, "two decades were left out"


def test_after_thirty_trials_every_batch_size_has_a_rate_near_its_best(thirty):
    """Also the smallest, a hundred times as expensive as the largest."""
    for size in SPACE.batch_sizes:
        done = [t.values[0] for t in thirty.trials if batch_size_of(t.params) == size]
        best = accuracy_at({"batch_size": size, "learning_rate": math.sqrt(size) / 1000})
        assert done, f"batch size {size} was never run"
        assert max(done) > best - 0.005, f"batch size {size}"


def test_sizes_that_add_nothing_to_the_front_get_their_due_too():
    """Small ones that are slow, no smaller and worse: what people ask about is how much worse."""
    study = new_study()
    for _ in range(40):
        trial = study.ask(SPACE.distributions())
        worse = 0.004 * (9 - log2_batch_size_of(trial.params))
        trial.set_constraint(CONSTRAINT, 0.0)
        seconds, _ = cost(batch_size_of(trial.params))
        study.tell(trial, [accuracy_at(trial.params) - worse, seconds, 10_000])
    for size in SPACE.batch_sizes:
        off = [
            math.log2(t.params["learning_rate"] * 1000) - 0.5 * log2_batch_size_of(t.params)
            for t in study.trials
            if batch_size_of(t.params) == size
        ]
        assert off, f"batch size {size} was never run"
        assert min(map(abs, off)) < 1.5, f"batch size {size} was run at odd rates only"


def test_small_sizes_are_run_when_their_rate_is_known_from_large_ones(thirty):
    params = [trial.params for trial in thirty.trials]
    first = next(p for p in params if log2_batch_size_of(p) == 0)
    assert 0.25 < first["learning_rate"] * 1000 < 4, "two doublings off the best"
    small = [n for n, p in enumerate(params) if log2_batch_size_of(p) <= 1]
    large = [n for n, p in enumerate(params) if log2_batch_size_of(p) >= 8]
    assert np.median(small) > np.median(large)


@pytest.mark.slow
def test_less_training_than_random_draws_for_the_same_front(monkeypatch):
    """It gets a third of their training seconds."""
    table = read_table(ROOT / "benchmarks" / "tables" / "diabetes_adam.csv.gz")

    def played(name, budget):
        monkeypatch.setattr("benchmarks.score.BUDGET", budget)
        return [play_study(table, name=name, pruner="none", seed=s).outcome() for s in range(3)]

    ours, random = played("cost-aware", 20), played("random", 60)
    for key in ("seconds_to_90", "seconds_to_95"):
        assert max(o[key] for o in ours) < min(r[key] for r in random) / 5
    assert min(o["hypervolume"] for o in ours) > max(r["hypervolume"] for r in random) - 1e-9


def test_workers_beside_each_other_are_sent_to_different_places(thirty):
    study = new_study()
    study.add_trials(thirty.trials[:12])
    running = [study.ask(SPACE.distributions()).params for _ in range(6)]
    places = {(log2_batch_size_of(p), round(math.log2(p["learning_rate"]))) for p in running}
    assert len(places) == 6
    alone = []
    for _ in range(6):  # without seeing each other all would go to the same place
        twin = new_study()
        twin.add_trials([t for t in study.trials if t.state == TrialState.COMPLETE])
        alone.append(log2_batch_size_of(twin.ask(SPACE.distributions()).params))
    assert len(set(alone)) < len({log2_batch_size_of(p) for p in running})


def test_sizes_that_cannot_run_are_not_proposed():
    study = new_study(limits=limits_of(failed_size=64, budgets=Budgets(max_seconds=40.0)))
    sizes = {batch_size_of(p) for p in _run(study, 25)}
    assert sizes <= {4, 8, 16, 32}, "64 ran out of memory, 2 takes 51 seconds"
    assert len(sizes) == 4


def test_an_accuracy_that_must_be_reached_is_looked_for():
    """Only batch sizes up to 4 reach it, at rates within two doublings of their best."""
    study = new_study(limits=limits_of(budgets=Budgets(min_metric=0.9765)))
    for _ in range(40):
        trial = study.ask(SPACE.distributions())
        accuracy = accuracy_at(trial.params)
        trial.set_constraint(CONSTRAINT, 0.0 if accuracy >= 0.9765 else 4.1)
        study.tell(trial, [accuracy, *cost(batch_size_of(trial.params))])
    feasible = {log2_batch_size_of(t.params) for t in study.best_trials}
    assert feasible >= {0, 1, 2}


@pytest.mark.parametrize(
    "space",
    [
        SearchSpace(batch_sizes=powers_of_two(16, 16)),
        SearchSpace(learning_rates=(0.01, 0.01)),
        SearchSpace(batch_sizes=powers_of_two(16, 16), learning_rates=(0.01, 0.01)),
    ],
    ids=["one size", "one rate", "one point"],
)
def test_a_space_may_be_a_line_or_a_point(space):
    params = _run(new_study(space), 12, space)
    assert len(params) == 12


def test_costs_need_not_be_known():
    params = _run(new_study(limits=limits_of(costs={})), 20)
    assert len({log2_batch_size_of(p) for p in params}) > 4


def test_when_everything_fails_it_goes_on_looking():
    study = new_study()
    for _ in range(20):
        trial = study.ask(SPACE.distributions())
        stop(study, trial, "diverged")
    rates = [math.log10(t.params["learning_rate"]) for t in study.trials]
    assert max(rates) - min(rates) > 4


def test_it_stays_away_from_where_the_objective_raises():
    """Batch size 1 cannot be trained with batch norm, say; those trials are FAIL."""
    study = new_study(SearchSpace(batch_sizes=powers_of_two(1, 8)))
    for _ in range(40):
        trial = study.ask(SearchSpace(batch_sizes=powers_of_two(1, 8)).distributions())
        if log2_batch_size_of(trial.params) == 0:
            trial.set_user_attr(FAIL_REASON, ERROR)
            study.tell(trial, state=TrialState.FAIL)
        else:
            tell(study, trial)
    failed = [t.number for t in study.trials if t.state == TrialState.FAIL]
    assert len(failed) < 15
    assert sum(number >= 30 for number in failed) <= 3


def test_parameters_of_somebody_else_are_drawn_at_random():
    study = new_study()
    more = {**SPACE.distributions(), "mine": optuna.distributions.FloatDistribution(0, 1)}
    for _ in range(10):
        tell(study, study.ask(more))
    draws = [t.params["mine"] for t in study.trials]
    study.sampler = new_study().sampler  # resumed
    for _ in range(10):
        trial = study.ask(more)
        draws.append(trial.params["mine"])
        tell(study, trial)
    assert len(set(draws)) == 20


def test_parameters_of_the_task_are_searched_with_the_rest():
    """The best of three activations, and weight decay near 0.01."""
    search = {
        "activation": Parameter(choices=("relu", "tanh", "gelu"), bears_cost=False),
        "weight_decay": Parameter(low=1e-4, high=1.0, log=True, bears_cost=False),
    }
    space = SearchSpace(batch_sizes=powers_of_two(16, 64), search=search)
    study = new_study(space)
    for _ in range(50):
        trial = study.ask(space.distributions())
        off = math.log10(trial.params["weight_decay"]) + 2
        loss = 0.02 * off**2 + 0.1 * (trial.params["activation"] != "tanh")
        tell(study, trial, accuracy_at(trial.params) - loss)
    later = [t.params for t in study.trials[30:]]
    assert sum(p["activation"] == "tanh" for p in later) > len(later) * 0.6
    assert max(t.values[0] for t in study.trials) > 0.96


WIDTH = {"width": Parameter(low=16, high=512, log=True)}


@pytest.mark.slow
def test_what_has_no_memory_is_soon_left_alone():
    """Its cost is known to no probe: only the runs say that wide models need small batches."""
    space = SearchSpace(batch_sizes=powers_of_two(4, 512), search=WIDTH)
    study = new_study(space)
    lost = []
    for number in range(60):
        trial = study.ask(space.distributions())
        trial.set_user_attr(UNPROBED, True)
        trial.set_user_attr(HARDWARE, "here")
        if batch_size_of(trial.params) * trial.params["width"] > 8192:
            lost.append(number)
            stop(study, trial, "out_of_memory")
        else:
            tell(study, trial, accuracy_at(trial.params) - 0.1 / trial.params["width"])
    assert len(lost) < 20
    assert sum(number >= 40 for number in lost) <= 4


def test_a_refused_combination_is_not_proposed_over_and_over():
    search = {"activation": Parameter(choices=("relu", "tanh"))}
    space = SearchSpace(batch_sizes=powers_of_two(1, 512), search=search)
    limits = limits_of(failed_size=64)
    study = new_study(space, limits=limits)
    for _ in range(40):
        trial = study.ask(space.distributions())
        refused = space.is_probed(trial.params) and limits.excuse(batch_size_of(trial.params))
        assert not refused, f"trial {trial.number} cannot run: {trial.params}"
        tell(study, trial)


def test_what_is_estimated_to_be_over_budget_is_not_proposed():
    """Wide models take up to 16 times the memory."""
    space = SearchSpace(search=WIDTH)
    study = new_study(space, limits=limits_of(budgets=Budgets(max_memory_bytes=4000)))
    over = []
    for number in range(40):
        trial = study.ask(space.distributions())
        seconds, memory = cost(batch_size_of(trial.params))
        memory *= trial.params["width"] / WIDTH["width"].probed
        trial.set_user_attr(UNPROBED, True)
        trial.set_constraint(CONSTRAINT, 4.0 if memory > 4000 else 0.0)
        over += [number] * (memory > 4000)
        study.tell(trial, [accuracy_at(trial.params), seconds, memory])
    assert sum(number >= 15 for number in over) <= 3


def test_a_place_that_is_known_well_has_no_news():
    """However promising: what a run would show there is noise between seeds."""
    shape = replace(usual_shape(2), theta=(*usual_shape(2).theta[:-1], math.log(0.02)))
    noise = math.sqrt(shape.white)
    guess = Guess(mean=np.zeros(4), deviation=np.array([0.0, 0.1 * noise, noise, 100 * noise]))
    assert news(guess, shape) == pytest.approx([0.0, 0.005, 1 - math.sqrt(0.5), 0.99], abs=0.001)
