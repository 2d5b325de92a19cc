"""Loaders of one's own give whole epochs; another length is refused before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest

from batchfront.objectives.task import no_data
from batchfront.study.errors import StudyError
from batchfront.study.plan.length import asked_length
from batchfront.study.plan.settings import StudySettings
from tests.objectives.conftest import made_task, ready
from tests.objectives.loading.people import loaders


@pytest.mark.parametrize("asked", [{"steps": 10}, {"examples": 90}, {"evaluations": 7}])
def test_another_length_is_refused_with_the_remedy(asked: dict[str, Any]):
    objective = ready(made_task(data=no_data, loaders=loaders))
    with pytest.raises(StudyError, match=r"whole epochs: choose --epochs"):
        asked_length(StudySettings(**asked), objective)
    assert asked_length(StudySettings(epochs=2), objective).points == 2
