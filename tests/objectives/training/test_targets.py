"""Targets that are no class of the model are told of before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from torch.nn.functional import cross_entropy

from batchfront.objectives.measurement import ObjectiveError
from tests.objectives.conftest import made_data, made_task, ready


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


def test_a_target_that_the_loss_ignores_is_none_too_many():
    ready(made_task(data=_with("train", -100)))
    ready(made_task(data=_with("val", 255), loss=partial(cross_entropy, ignore_index=255)))
