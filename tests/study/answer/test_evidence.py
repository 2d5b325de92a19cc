"""What the answer makes of counted metrics, of rates where runs fail, and of those nobody tried."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from batchfront.objectives.measurement import Verdict
from batchfront.study.answer.choice import answer_of
from batchfront.study.answer.counted import step_of
from batchfront.study.answer.known import known_of
from batchfront.study.answer.model import SizeEstimate
from batchfront.study.answer.show import answer_json, best_rates
from batchfront.study.trials.attributes import VERDICT
from tests.study.answer.test_answer import SPACE, add, made_study, world


@pytest.mark.parametrize("examples", [35, 359, 1797])
def test_a_fraction_of_validation_examples_tells_how_many_there_are(examples):
    rounded = np.round(np.arange(examples - 9, examples) / examples, 6)
    assert step_of(rounded) == pytest.approx(1 / examples)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).uniform(0.9991, 0.9999, 25),  # R2, all close to 1
        np.random.default_rng(0).uniform(0.5, 1, 25),  # R2
        np.array([0.5, 1.0, 1.0]),  # so few are whole steps of something by chance
        np.array([math.nan, math.inf]),
    ],
)
def test_what_is_not_counted_has_no_step(values):
    assert step_of(values) == 0.0


def counted(seed: int, examples: int) -> optuna.Study:
    """Runs whose true error is 0.02 everywhere, measured on so many examples."""
    study, draw = made_study(), random.Random(seed)
    for _ in range(30):
        wrong = sum(draw.random() < 0.02 for _ in range(examples))
        rate = 0.02 * 2 ** draw.uniform(-2, 2)
        add(study, draw.randrange(10), rate, 1 - wrong / examples)
    return study


def _shown(study: optuna.Study) -> list[SizeEstimate]:
    (known,) = known_of(study, study.trials).values()
    return [size.shown for size in answer_of(known).sizes if size.estimate is not None]


@pytest.mark.slow
def test_35_validation_examples_widen_the_interval_and_do_not_break_it():
    inside, expected = [], []
    for seed in range(2):
        draw = random.Random(100 + seed)
        for found in _shown(counted(seed, 35)):
            low, high = found.fresh_run
            wrong = (sum(draw.random() < 0.02 for _ in range(35)) for _ in range(50))
            inside += [low <= count / 35 <= high for count in wrong]
            assert found.step == pytest.approx(1 / 35)
            expected.append(found.error)
    assert np.mean(inside) > 0.85
    assert np.mean(expected) == pytest.approx(0.02, abs=0.5 / 35), "to half an example"


def _failed(study: optuna.Study, size: int, rate: float) -> None:
    params = {"log2_batch_size": size, "learning_rate": rate}
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED,
            params=params,
            distributions=SPACE,
            user_attrs={VERDICT: Verdict.DIVERGED.value},
        )
    )


def test_a_rate_where_four_runs_diverged_is_not_recommended_nor_inside_the_interval():
    study = made_study()
    for size in range(3, 7):  # the faster the better, up to a cliff at the largest size
        for rate in (0.01, 0.03, 0.1, 0.3):
            add(study, size, rate, 1 - 0.05 * (0.3 / rate) ** 0.3)
    for rate in (0.01, 0.03, 0.1):
        add(study, 7, rate, 1 - 0.05 * (0.3 / rate) ** 0.3)
    for rate in (0.28, 0.3, 0.3, 0.32):
        _failed(study, 7, rate)
    found = {size.batch_size: size for size in _shown(study)}
    assert found[128].learning_rate < 0.2
    assert found[128].learning_rate_high < 0.25
    assert found[64].learning_rate > 0.2


def _slope(power: float, low: float, high: float) -> SizeEstimate:
    """The estimate of a size whose error goes with a power of the rate, over all that was tried."""
    study, draw = made_study(), random.Random(0)
    for size in (3, 4, 5):
        for step in range(8):
            rate = low * (high / low) ** (step / 7)
            error = 0.05 * rate**power * math.exp(draw.gauss(0, 0.03))
            add(study, size, rate, 1 - error / max(low**power, high**power))
    return _shown(study)[1]


def test_a_best_rate_that_may_lie_beyond_what_was_tried_is_said_to_have_no_end_there():
    rising, falling = _slope(-1.0, 0.01, 1.0), _slope(1.0, 0.01, 1.0)
    assert (rising.is_bounded_below, rising.is_bounded_above) == (True, False)
    assert best_rates(rising) == f"at least {rising.learning_rate_low:.2g}"
    assert rising.learning_rate_low > 0.2
    assert (falling.is_bounded_below, falling.is_bounded_above) == (False, True)
    assert best_rates(falling) == f"at most {falling.learning_rate_high:.2g}"
    assert best_rates(_slope(0.0, 0.1, 0.3)) == "no bounds found"


def test_a_valley_has_two_ends_and_json_has_numbers_either_way():
    study = world(1)
    (known,) = known_of(study, study.trials).values()
    answer = answer_of(known)
    assert answer.recommended is not None
    assert " to " in best_rates(answer.recommended.shown)
    said = json.loads(json.dumps(answer_json(answer, known)))["recommended"]
    assert said["learning_rate_bounded_below"] is True
    assert said["learning_rate_bounded_above"] is True
    assert said["learning_rate_low"] < said["learning_rate"] < said["learning_rate_high"]
