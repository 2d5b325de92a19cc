"""What benchmarks conclude from, against slower ways to the same answer."""

from __future__ import annotations

import itertools

import numpy as np
import optuna
import pytest

from benchmarks.hypervolume import hypervolume
from benchmarks.multi_metric import non_domination_ranks
from benchmarks.playback import play, random_design
from benchmarks.pruning import beats, compare, front_of, is_lost
from objectives.table import RecordedRun, Table, read_table
from study.pruning.decision import NeverStop

from .study.conftest import ROOT


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table(ROOT / "benchmarks" / "tables" / "digits_cnn_sgd.csv.gz")


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_the_hypervolume_is_that_of_a_monte_carlo_count():
    draw = np.random.default_rng(0)
    points, reference = draw.random((12, 3)) * 1.3, np.array([1.0, 1.1, 0.9])
    samples = draw.random((200_000, 3)) * reference
    inside = np.zeros(len(samples), dtype=bool)
    for point in points:
        inside |= (samples >= point).all(axis=1)
    expected = inside.mean() * reference.prod()
    assert hypervolume(points.tolist(), reference.tolist()) == pytest.approx(expected, rel=0.02)


def test_the_hypervolume_of_nothing_and_of_what_lies_outside_is_zero():
    assert hypervolume([], (1, 1, 1)) == 0
    assert hypervolume([(1, 0, 0), (0, 2, 0)], (1, 1, 1)) == 0
    assert hypervolume([(0, 0, 0), (0.5, 0.5, 0.5)], (1, 1, 1)) == 1


def test_ranks_peel_front_after_front():
    values = np.array([[0, 3], [1, 1], [3, 0], [1, 3], [2, 2], [4, 4]])
    assert non_domination_ranks(values) == [0, 0, 0, 1, 1, 2]


def _run(accuracy: float, size: int = 8) -> RecordedRun:
    return RecordedRun(
        batch_size=size,
        learning_rate=0.1 * accuracy,
        seed=0,
        train_loss=(1.0,),
        val_accuracy=(accuracy,),
        train_seconds=(1 / size,),
        peak_memory_bytes=size,
    )


def test_a_lost_member_is_one_that_no_completed_run_ties():
    runs = [_run(0.9), _run(0.897), _run(0.89), _run(0.8, size=16)]
    made = Table(
        task="t", optimizer="o", runs={(r.batch_size, r.learning_rate, 0): r for r in runs}
    )
    best, tie, worse, quick = runs
    assert not is_lost(made, best, [tie])
    assert is_lost(made, best, [worse])
    assert is_lost(made, best, [quick])
    assert beats(made, best, tie)
    assert not beats(made, best, quick)
    assert not beats(made, best, best)


def test_without_a_pruner_nothing_is_killed_and_nothing_saved(table):
    found = compare(table, "none", n_trials=40, seed=0, risk=0.02)
    assert (found.killed, found.stopped, found.false_stops) == (0, 0, 0)
    assert found.hypervolume_ratio == found.train_seconds_ratio == 1


def test_the_front_of_a_design_is_that_of_brute_force(table):
    free = play(table, random_design(table, n_trials=40, seed=0), NeverStop(), guarded=False)
    front = {id(run) for run in front_of(table, free)}
    runs = {id(p.run): p.run for p in free if p.completed}
    for a, b in itertools.permutations(runs.values(), 2):
        assert not (id(b) in front and beats(table, a, b))
    assert front


@pytest.mark.parametrize("name", ["median", "multi-metric", "guard", "front", "hindsight"])
def test_every_rule_saves_time(table, name):
    found = compare(table, name, n_trials=60, seed=1, risk=0.02)
    assert found.train_seconds_ratio < 0.95
    assert 0 < found.hypervolume_ratio <= 1 + 1e-9


def test_the_default_pruner_keeps_the_front_of_a_recorded_study(table):
    found = [compare(table, "front", n_trials=150, seed=seed, risk=0.02) for seed in (100, 101)]
    assert sum(c.killed for c in found) <= 1
    assert min(c.hypervolume_ratio for c in found) > 0.998
    assert max(c.train_seconds_ratio for c in found) < 0.8


def test_one_seed_is_one_design(table):
    assert random_design(table, n_trials=9, seed=1) == random_design(table, n_trials=9, seed=1)
    assert random_design(table, n_trials=9, seed=1) != random_design(table, n_trials=9, seed=2)
