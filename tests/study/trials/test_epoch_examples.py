"""The training examples of an epoch are read from the steps that runs announced."""

from __future__ import annotations

import pytest

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Phase
from batchfront.objectives.training.batches import RULES, steps_of
from batchfront.study.trials.epoch_examples import epoch_examples
from tests.study.findings.test_critical import row

SIZES = [2**k for k in range(10)]


def runs(n_train, sizes, epochs, rule):
    length = Length(amount=epochs, n_train=n_train)
    return [
        row(
            size,
            0.1,
            epochs=epochs,
            total_steps=sum(steps_of([size] * epochs, length, rule=rule)),
        )
        for size in sizes
    ]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("epochs", [1, 2, 7, 20])
@pytest.mark.parametrize("n_train", [512, 768, 1024, 1026, 1079, 1791])
def test_the_examples_lie_within_the_bounds_whatever_sizes_were_tried(n_train, epochs, rule):
    for first in range(len(SIZES)):
        for last in range(first, len(SIZES)):
            found = epoch_examples(runs(n_train, SIZES[first : last + 1], epochs, rule))
            assert found is not None
            assert found.low <= n_train <= found.high
            assert found.low <= found.likely <= found.high
            assert first > 0 or found.likely == n_train


def test_runs_that_are_played_back_do_not_tell():
    assert epoch_examples([row(b, 0.1, epochs=2, total_steps=40) for b in (1, 64)]) is None
    assert epoch_examples([row(8, 0.1)]) is None


def test_a_run_that_grew_tells_by_the_size_it_began_with():
    phases = (Phase(4, 2, 50), Phase(8, 2, 25))
    run = row(4, 0.1, epochs=4, total_steps=75, phases=phases)
    assert epoch_examples([run]).likely == 100
