"""The rows `informed` on tables that are small enough to be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import optuna
import pytest

from batchfront.objectives.curves.table import Key, RecordedRun, Table
from batchfront.study.pruning.decision import NeverStop
from benchmarks.informed import best_first, compare_informed, stopped_at
from benchmarks.known_ends import Guesses, by_curves, by_means
from benchmarks.playback import play, random_design
from benchmarks.pruning import compare, front_of, in_hindsight

EPOCHS = 5
SIZES, RATES, SEEDS = (8, 16), (0.1, 0.2, 0.3, 0.4), (0, 1, 2)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _table(end) -> Table:
    """`end`: of a size, a rate and a seed. Memory grows with the size as seconds shrink."""
    runs = {}
    for key in ((size, rate, seed) for size in SIZES for rate in RATES for seed in SEEDS):
        before = 0.5 - 0.1 * key[1]  # its seed shows in the last epoch alone
        runs[key] = RecordedRun(
            batch_size=key[0],
            learning_rate=key[1],
            seed=key[2],
            train_loss=(0.1,) * EPOCHS,
            val_accuracy=(*(before * n / EPOCHS for n in range(1, EPOCHS)), end(*key)),
            train_seconds=tuple(n / key[0] for n in range(1, EPOCHS + 1)),
            peak_memory_bytes=key[0],
        )
    return Table(task="t", optimizer="o", runs=runs)


@pytest.fixture
def quiet_table() -> Table:
    return _table(lambda size, rate, seed: 0.8 - rate / 2 + size / 100)


@pytest.fixture
def noisy_table() -> Table:
    """Nothing before the end says anything of it."""
    draw = np.random.default_rng(0)
    return _table(lambda size, rate, seed: float(draw.uniform(0.4, 0.9)))


def test_without_noise_it_is_hindsight_where_the_best_are_drawn_first(quiet_table):
    design: list[Key] = [(8, 0.1, 0), (16, 0.2, 1), (8, 0.2, 2), (16, 0.3, 0), (8, 0.4, 1)]
    path = best_first(quiet_table, design, by_means(quiet_table, own=False))
    played = stopped_at(quiet_table, design, path, level=-50.0)
    free = play(quiet_table, design, NeverStop(), guarded=False)
    told = [(p.completed, pytest.approx(p.train_seconds)) for p in in_hindsight(quiet_table, free)]
    assert [(p.completed, p.train_seconds) for p in played] == told
    assert [p.completed for p in played] == [True, True, False, False, False]


def test_without_noise_only_members_of_the_front_are_trained_to_the_end(quiet_table):
    found = compare_informed(quiet_table, own=False, n_trials=12, designs=3)
    for seed, one in enumerate(found):
        design = random_design(quiet_table, n_trials=12, seed=seed)
        free = play(quiet_table, design, NeverStop(), guarded=False)
        sizes = {run.batch_size for run in front_of(quiet_table, free)}  # the seeds are alike
        epochs, longer = sum(1 / size for size, _, _ in design), sum(1 / size for size in sizes)
        assert one.killed == 0
        expected = (epochs + (EPOCHS - 1) * longer) / (EPOCHS * epochs)
        assert one.train_seconds_ratio == pytest.approx(expected)


def test_noise_has_it_train_what_hindsight_stops(noisy_table):
    found = compare_informed(noisy_table, own=False, n_trials=24, designs=4)
    least = [compare(noisy_table, "hindsight", n_trials=24, seed=n, risk=0.02) for n in range(4)]
    assert sum(one.killed for one in found) == 0
    seconds = [sum(one.train_seconds_ratio for one in some) for some in (found, least)]
    assert seconds[0] > 1.3 * seconds[1]


def test_a_run_goes_on_while_its_chance_for_the_seconds_left_is_above_the_threshold():
    table = _table(lambda size, rate, seed: {0.1: 0.5, 0.2: 0.7}.get(rate, 0.6))
    design: list[Key] = [(8, 0.1, 0), (8, 0.2, 0), (8, 0.3, 0)]
    before = np.repeat([[0.6], [0.5], [0.5]], EPOCHS - 1, axis=1)
    mean = np.hstack([before, [[0.5], [0.7], [0.6]]])
    known = Guesses(
        rows={key: n for n, key in enumerate(design)}, mean=mean, spread=np.full(mean.shape, 0.1)
    )
    path = best_first(table, design, known)
    left = (EPOCHS - 1) / EPOCHS  # of a run, after an epoch of it
    even = math.log(0.5 / left)  # the first ended at .5, where both others are expected
    behind = math.log(0.158655 / left)  # and the third at .6, a spread above

    def completed(level: float) -> list[bool]:
        return [p.completed for p in stopped_at(table, design, path, level)]

    assert completed(even + 0.01) == [True, False, False]
    assert completed(even - 0.01) == [True, False, True]
    assert completed(behind + 0.01) == [True, False, True]
    assert completed(behind - 0.01) == [True, True, True]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_read_from_the_end_of_the_run_itself(noisy_table, seed):
    key: Key = (8, 0.2, seed)
    run = noisy_table.runs[key]
    other = replace(run, val_accuracy=(*run.val_accuracy[:-1], 0.99))
    changed = replace(noisy_table, runs={**noisy_table.runs, key: other})

    def known(table: Table, *, own: bool) -> np.ndarray:
        means = by_means(table, own=own)
        both = (means, by_curves(table, means))
        row = means.rows[key]
        return np.array([(one.mean[row, :-1], one.spread[row, :-1]) for one in both])

    assert known(changed, own=False) == pytest.approx(known(noisy_table, own=False), abs=1e-12)
    assert known(changed, own=True) != pytest.approx(known(noisy_table, own=True), abs=1e-3)
