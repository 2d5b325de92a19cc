"""What ending seeds early would save: the figures that the documents conclude from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batchfront.objectives.curves.table import RecordedRun
from batchfront.study.smallest.question import SEEDS, TUNE
from batchfront.study.smallest.size import Asked as AskedFor
from benchmarks.early_verdicts import Asked, early_end, scores, surplus
from benchmarks.worlds.walked import Errors

TARGET, EPOCHS = 0.9, 8


def _asked(curve, *, seed=0) -> Asked:
    run = RecordedRun(
        batch_size=8,
        learning_rate=0.1,
        seed=seed,
        train_loss=(1.0,) * len(curve),
        val_accuracy=tuple(curve),
        train_seconds=(),
        peak_memory_bytes=1,
    )
    return Asked(run=run, purpose=SEEDS, final=curve[-1], epoch_seconds=1.0)


def _curves(n):
    draw = np.random.default_rng(0)
    return TARGET + np.cumsum(0.01 * draw.standard_normal((n, EPOCHS)), axis=1)


def test_nothing_but_what_follows_the_last_crossing_is_surplus():
    assert surplus(_asked([0.8, 0.95, 0.85, 0.95, 0.95, 0.95]), TARGET) == 2
    assert surplus(_asked([0.95, 0.95, 0.95, 0.85]), TARGET) == 0
    assert surplus(_asked([0.5, 0.5, 0.5, 0.5]), TARGET) == 3


def test_the_score_of_a_run_is_the_least_margin_at_which_no_epoch_misleads():
    curves, usual = _curves(200), np.full(EPOCHS, 0.01)
    found = scores(curves, usual, TARGET)
    assert (found > 0).mean() > 0.2
    for curve, score in zip(curves, found, strict=True):
        said = np.abs(curve - TARGET) / usual > score
        assert ((curve >= TARGET) == (curve[-1] >= TARGET))[said].all()
        if score > 0:
            said = np.abs(curve - TARGET) / usual >= score
            assert not ((curve >= TARGET) == (curve[-1] >= TARGET))[said].all()


@pytest.mark.parametrize("level", [0.05, 0.1])
def test_exchangeable_runs_are_told_falsely_no_more_often_than_the_level(level):
    curves = _curves(3000)
    runs = [_asked(curve, seed=n) for n, curve in enumerate(curves)]
    n = math.ceil(1 / level) - 1
    assert early_end(runs[-1], runs[: n - 1], TARGET, level) is None
    ends = [
        early_end(runs[at], runs[at + 1 : at + 1 + n], TARGET, level)
        for at in range(0, len(runs) - n - 1, n + 1)
    ]
    given = [end for end in ends if end is not None]
    assert sum(end.is_false for end in given) <= 1.5 * level * len(ends)


def test_false_verdicts_are_of_seeds_alone_and_shared_by_those_of_a_size():
    draw = np.random.default_rng(0)
    seed, tune = (AskedFor(batch_size=8, learning_rate=0.1, purpose=p) for p in (SEEDS, TUNE))
    always = Errors(probability=1.0)
    assert always.told(seed, 0.95, TARGET, draw) < TARGET
    assert always.told(seed, None, TARGET, draw) == TARGET
    assert always.told(tune, 0.95, TARGET, draw) == 0.95
    shared = Errors(probability=0.5, shared=True)
    for size in (1, 2, 4, 8, 16, 32):
        one = AskedFor(batch_size=size, learning_rate=0.1, purpose=SEEDS)
        assert len({shared.told(one, 0.95, TARGET, draw) for _ in range(9)}) == 1
