"""The risk that a pruner takes where none was asked for, in a new study and in a resumed one."""

from __future__ import annotations

import pytest

from batchfront.objectives.load import load_objective
from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.opening.planned import new_plan, resumed_plan
from batchfront.study.plan.settings import StudySettings

URL = "sqlite:///study.db"
ASKED = ("run", "--task", "digits", "--study-name", "s", "--storage", URL, "--n-trials", "1",
         "--epochs", "1", "--batch-sizes", "256")  # fmt: skip


@pytest.mark.parametrize(
    ("pruner", "asked", "risk"),
    [(None, None, 0.02), ("front", None, 0.02), ("front-paused", None, 0.05),
     ("front-paused", 0.02, 0.02)],
)  # fmt: skip
def test_a_run_that_can_go_on_is_paused_at_a_risk_that_none_is_stopped_at(pruner, asked, risk):
    settings = StudySettings(task="digits", pruner=pruner, pruner_risk=asked)
    plan = new_plan(settings, load_objective("digits", device="cpu"), "s", "cpu")
    assert plan.pruner_risk == risk


def test_a_study_keeps_its_risk_until_another_pruner_is_asked_for(workdir):
    assert main([*ASKED, "--pruner", "front-paused", "--pruner-risk", "0.1"]) == 0
    study, objective = the_study(URL, "s"), load_objective("digits", device="cpu")

    def risk(**asked) -> float:
        settings = StudySettings(task="digits", storage=URL, study_name="s", **asked)
        return resumed_plan(study, settings, objective, "cpu").pruner_risk

    assert risk() == 0.1
    assert risk(pruner="front-paused") == 0.1
    assert risk(pruner="front") == 0.02
    assert risk(pruner="front", pruner_risk=0.3) == 0.3
