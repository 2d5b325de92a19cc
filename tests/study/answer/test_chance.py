"""An answer says where nothing was learned, and names no metric that there cannot be."""

from __future__ import annotations

import math
import random

import optuna
import pytest
from optuna.trial import create_trial

from batchfront.objectives.metric import ACCURACY, LOSS
from batchfront.study.answer.choice import answer_of
from batchfront.study.answer.known import known_of
from batchfront.study.answer.show import metric_of, sentences
from batchfront.study.trials.attributes import CONSTANT_METRIC, CONSTRAINT

from .test_answer import SPACE, made_study, seconds, true_error


def study_of(accuracy, *, constant: float) -> optuna.Study:
    """40 runs at sizes 1 to 512; `accuracy`: of log2 of the size, the rate and a draw."""
    study, draw = made_study(), random.Random(0)
    for _ in range(40):
        size = draw.randrange(10)
        rate = 0.02 * 2 ** (size / 2) * 10 ** draw.gauss(0, 0.3)
        study.add_trial(
            create_trial(
                values=[accuracy(size, rate, draw), seconds(size), 1e5 * 2**size],
                params={"log2_batch_size": size, "learning_rate": min(max(rate, 1e-3), 10)},
                distributions=SPACE,
                constraints={CONSTRAINT: 0.0},
                user_attrs={CONSTANT_METRIC: constant},
            )
        )
    return study


def by_chance(size, rate, draw):
    return 0.1 + 0.02 * draw.gauss(0, 1)


def by_learning(size, rate, draw):
    return 1 - true_error(size, rate) * math.exp(0.1 * draw.gauss(0, 1))


def said(study) -> list[str]:
    (known,) = known_of(study, study.trials).values()
    return sentences(answer_of(known), known)


def test_an_answer_by_chance_says_that_nothing_was_learned():
    study = study_of(by_chance, constant=0.11)
    assert max(t.values[0] for t in study.trials) > 0.11, "the luckiest run is above it"
    first = said(study)[0]
    assert first.startswith("As far as these runs show, nothing was learned at any batch size")
    assert "(val_accuracy 0.11" in first


@pytest.mark.parametrize("constant", [0.1, 0.9])
def test_an_answer_that_was_learned_does_not(constant):
    assert said(study_of(by_learning, constant=constant))[0].startswith("Train with batch size")


def test_no_interval_reaches_beyond_what_there_can_be():
    study = study_of(by_chance, constant=0.11)
    (known,) = known_of(study, study.trials).values()
    answer = answer_of(known)
    lows = [metric_of(size.shown, known)[1] for size in answer.sizes if size.estimate]
    assert min(lows) == 0.0
    assert [ACCURACY.possible(value) for value in (-0.2, 0.5, 1.1)] == [0.0, 0.5, 1.0]
    assert LOSS.possible(-3.0) == -3.0
