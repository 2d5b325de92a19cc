"""What the summary below a front says of its runs."""

from __future__ import annotations

import pytest
from optuna.trial import FrozenTrial, create_trial

from batchfront.objectives.metric import ACCURACY
from batchfront.study.findings.overview.summary import summary_lines


def run_that_took(off: float | None, measured_seconds: float) -> FrozenTrial:
    attributes = {"measured_seconds": measured_seconds, "verdict": "completed"}
    if off is not None:
        attributes["time_off"] = off
    return create_trial(values=[0.9, 1.0, 100.0], user_attrs=attributes)


@pytest.mark.parametrize(
    ("off", "seconds", "is_said"),
    [
        (0.3, 0.026, False),  # six milliseconds
        (0.3, 2.6, True),
        (-0.4, 1.2, True),  # 0.8 s less
        (-0.4, 0.012, False),
        (None, 100.0, False),
        (-1.0, 0.0004, True),  # nearly no time at all, where the probe took a second
        (-1.0, 0.0, False),
    ],
)
def test_a_time_unlike_the_probes_is_worth_a_word_where_people_feel_it(off, seconds, is_said):
    lines = summary_lines([run_that_took(off, seconds)], ACCURACY)
    assert any("more or less time than their probe" in line for line in lines) == is_said
