"""Targets that are no class of the model are told of before anything is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
from torch.nn.functional import cross_entropy

from batchfront.objectives.measurement import ObjectiveError
from tests.objectives.conftest import made_data, made_task, ready, train


def _with(split: str, value: int):
    data = made_data()
    targets = getattr(data, f"y_{split}").clone()
    targets[3] = value
    return lambda: replace(data, **{f"y_{split}": targets})


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("value", [-1, 99])
def test_a_target_that_is_no_class_is_named_with_its_split(split, value):
    with pytest.raises(
        ObjectiveError, match=rf"y_{split} holds {value}, and the model has classes"
    ):
        ready(made_task(data=_with(split, value)))


@pytest.mark.parametrize(("split", "ignored"), [("train", -100), ("val", 255)])
def test_a_target_that_the_loss_ignores_is_none_too_many(split, ignored):
    loss = partial(cross_entropy, ignore_index=ignored)
    run = train(ready(made_task(data=_with(split, ignored), loss=loss)))
    assert math.isfinite(run.result().train_loss)
    with pytest.raises(ObjectiveError, match=f"y_{split} holds {ignored}"):
        ready(made_task(data=_with(split, ignored), loss=partial(cross_entropy, ignore_index=9)))
