"""What findings say of runs whose length is in examples, steps or tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batchfront.objectives.length import Length
from batchfront.study.findings.claims.claim import AGREE, DISAGREE
from batchfront.study.findings.critical.fit import SizeRuns, critical_batch
from batchfront.study.findings.critical.show import as_json, caveats
from batchfront.study.findings.critical.to_target import to_target
from batchfront.study.trials.epoch_examples import epoch_examples
from batchfront.study.trials.rows import RunRow
from tests.study.findings.test_claims import EARLY, HIGHER, IN_STEPS, claim, made
from tests.study.recorded import run_row

SIZES = [2**k for k in range(4, 9)]
E_MIN, B_CRIT = 1000.0, 100.0
TOKENS = Length(unit="tokens", amount=80_000, evaluations=100, tokens_per_example=10)
EXAMPLES = Length(unit="examples", amount=8000, evaluations=100)
STEPS = Length(unit="steps", amount=100, evaluations=100)


def planted(length: Length) -> list[RunRow]:
    """Runs that reach 0.9 after E = E_MIN (1 + B / B_CRIT) examples, in a curve of the length."""
    random, rows = np.random.default_rng(0), []
    for size in SIZES:
        total = length.examples_of(size) or 0
        for seed in range(10):
            needed = E_MIN * (1 + size / B_CRIT) * math.exp(0.05 * random.standard_normal())
            reached = [total * k / length.points >= needed for k in range(1, length.points + 1)]
            curve = tuple(0.9 if there else 0.1 for there in reached)
            steps = sum(length.steps([size] * length.points))
            known = {"length": length, "total_steps": steps, "epochs": length.epochs_of(size)}
            known |= {"metric": curve[-1], "curve": curve, "train_seconds": 0.01 * steps}
            rows.append(run_row(size, 0.1, seed=seed, **known))
    return rows


@pytest.mark.parametrize("length", [EXAMPLES, STEPS, TOKENS], ids=str)
def test_the_planted_critical_batch_is_found_in_the_unit_of_the_length(length):
    data = to_target(planted(length), 0.9)
    found = critical_batch(data.sizes, resolution=data.resolution, of_steps=data.of_steps)
    each = 10 if length is TOKENS else 1
    said = as_json(found, data, 0.9)
    assert said["unit"] == ("tokens" if length is TOKENS else "examples")
    low, high = said["b_crit_interval"]
    coarse = 1.1 if length is STEPS else 1.0  # all costs are read half a step too high
    assert low <= B_CRIT <= coarse * high, said
    assert said["b_crit"] == pytest.approx(B_CRIT, rel=0.3)
    assert said["e_min"] == pytest.approx(E_MIN * each, rel=0.1)
    assert said["s_min"] == pytest.approx(E_MIN / B_CRIT, rel=0.3), "steps, whatever the unit"
    counted = next(line for line in caveats(found, data) if line.startswith("costs are counted"))
    assert ("1 examples times the batch size" in counted) is (length is STEPS)


def test_equal_steps_know_large_sizes_less_well():
    data = to_target(planted(STEPS), 0.9)
    assert (data.resolution, data.of_steps) == (1.0, True)
    alike = [
        SizeRuns(batch_size=b, learning_rate=0.1, to_target=3 * (1000.0 + 10 * b,)) for b in SIZES
    ]
    for row in critical_batch(alike, resolution=1.0, of_steps=True).sizes:
        assert row.median is not None
        wide = row.median.high - row.median.low
        assert wide == pytest.approx(0.95 * row.runs.batch_size, rel=0.05), "of one step"


@pytest.mark.parametrize("length", [EXAMPLES, STEPS, TOKENS], ids=str)
def test_a_run_says_what_it_took_in_every_unit(length):
    row = next(row for row in planted(length) if row.batch_size == 64)
    points = row.curve.index(0.9) + 1
    examples = (length.examples_of(64) or 0) * points / 100
    assert row.points_to(0.9) == points
    assert row.examples_to(0.9) == examples
    assert row.tokens_to(0.9) == (10 * examples if length is TOKENS else None)
    assert row.steps_until(points) == pytest.approx(examples / 64, rel=0.01)
    assert row.epochs_to(0.9) is None
    known = run_row(**{**vars(row), "length": Length(**{**vars(length), "n_train": 4000})})
    assert epoch_examples([known]) == (4000, 4000, 4000)
    assert epoch_examples([row]) is None, "its steps and points are none of epochs"


def test_the_examples_of_an_epoch_follow_from_steps_wherever_runs_are_evaluated():
    length = Length(amount=3, evaluations=12)
    rows = [
        run_row(size, 0.1, length=length, epochs=3, total_steps=3 * 1079 // size) for size in SIZES
    ]
    found = epoch_examples(rows)
    assert found is not None
    assert found.low <= 1079 <= found.high < 1090


def of_steps(**planted: float) -> list[RunRow]:
    length = Length(unit="steps", amount=1000, evaluations=20)
    return made(more=lambda size, random: {"length": length, "epochs": None}, **planted)


def test_under_equal_steps_whole_runs_tell_of_as_many_steps_and_halves_of_as_many_epochs():
    smaller = of_steps(rise=0.01)
    assert claim(IN_STEPS, smaller).verdict == AGREE
    larger = of_steps(rise=-0.006)
    assert claim(IN_STEPS, larger).verdict == DISAGREE
    assert claim(HIGHER, larger).verdict == DISAGREE, "2B is better than B, after half as after all"
    assert claim(HIGHER, of_steps(half=0.05)).verdict == AGREE, "2B after half is worse than B"


def test_the_early_part_of_a_run_without_epochs_is_a_tenth_of_it():
    found = claim(EARLY, of_steps())
    assert found.name == "a tenth of a run predicts the end"
    assert found.verdict == AGREE
