"""Batch sizes that are no powers of two: samplers see their order, and draw no other."""

from __future__ import annotations

import math
from collections import Counter

import optuna
import pytest
from optuna.distributions import IntDistribution

from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.by_name import make_sampler
from batchfront.study.search.placed import PlacedSampler
from batchfront.study.trials.attributes import CONSTRAINT

from ..cost_aware import limits_of

SIZES = (10, 24, 48, 50, 96, 1000)
SPACE = SearchSpace(batch_sizes=SIZES, learning_rates=(1e-3, 1.0))
STOCK = ("tpe", "nsgaii", "nsgaiii", "gp", "qmc", "random")


def _sampler(name):
    known = limits_of(SIZES)
    return make_sampler(name, space=SPACE, seed=1, hardware="here", limits=lambda study: known)


def _bare(sampler):
    """The same sampler without what shows it places."""
    if isinstance(sampler, PlacedSampler):
        return sampler.inner
    if hasattr(sampler, "inner"):
        sampler.inner = _bare(sampler.inner)
    return sampler


def _searched(sampler, space, place_of, n):
    """The places and rates that were drawn; the middle of the list is best."""
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
    drawn = []
    for _ in range(n):
        trial = study.ask(space)
        place, rate = place_of(trial.params["batch_size"]), trial.params["learning_rate"]
        drawn.append((place, rate))
        trial.set_constraint(CONSTRAINT, 0.0)
        study.tell(trial, [1 - abs(place - 3) / 9 - rate / 9, 1.0 + place, 100.0 - place])
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("name", STOCK)
def test_a_stock_sampler_draws_what_it_would_draw_from_whole_numbers_in_a_row(name, monkeypatch):
    # `gp` judges trials by their study's record, and the oracle's sizes are none.
    monkeypatch.setattr("batchfront.study.trials.sound.SoundTrials.why_not", lambda *_: None)
    n = {"gp": 13, "nsgaii": 110, "nsgaiii": 110}.get(name, 30)
    ours = _searched(_sampler(name), SPACE.distributions(), SIZES.index, n)
    places = {**SPACE.distributions(), "batch_size": IntDistribution(0, len(SIZES) - 1)}
    assert ours == _searched(_bare(_sampler(name)), places, lambda place: place, n)


@pytest.mark.parametrize("name", ["cost-aware", "grid", *STOCK])
def test_only_sizes_of_the_list_are_drawn_and_all_of_them(name):
    n = 12 if name == "gp" else 40
    study = optuna.create_study(
        directions=["maximize", "minimize", "minimize"], sampler=_sampler(name)
    )
    for _ in range(n):
        trial = study.ask(SPACE.distributions())
        trial.set_constraint(CONSTRAINT, 0.0)
        size, rate = trial.params["batch_size"], trial.params["learning_rate"]
        off = math.log2(rate * 1000) - 0.5 * math.log2(size)
        study.tell(trial, [1 - min(0.02 * math.exp(0.08 * off**2), 0.9), 1 / size, size])
    drawn = Counter(trial.params["batch_size"] for trial in study.trials)
    assert set(drawn) <= set(SIZES)
    assert name == "gp" or set(drawn) == set(SIZES)


def test_random_draws_give_every_size_its_share():
    study = optuna.create_study(directions=["maximize"] * 3, sampler=_sampler("random"))
    drawn = Counter(study.ask(SPACE.distributions()).params["batch_size"] for _ in range(600))
    assert all(60 < drawn[size] < 140 for size in SIZES), drawn
