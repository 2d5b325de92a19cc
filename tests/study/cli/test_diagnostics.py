"""Distance and sharpness, as a study records them."""

from __future__ import annotations

import pytest

from batchfront.study.cli.main import main
from batchfront.study.trials.attributes import DIAGNOSED

pytestmark = pytest.mark.usefixtures("journal")

RUN = ("run", "--task", "digits", "--epochs", "1", "--batch-sizes", "256:512", "--pruner", "none")
RUN = (*RUN, "--learning-rates", "0.01:0.1")


def test_completed_runs_record_what_was_asked_for_and_a_resume_goes_on_so(workdir, rows):
    assert main([*RUN, "--n-trials", "2"]) == 0
    assert main([*RUN, "--n-trials", "4", "--diagnostics", "distance"]) == 0
    assert main([*RUN, "--n-trials", "5"]) == 0
    found = [[row[name] is not None for name in DIAGNOSED] for row in rows("export")]
    assert found == [[False] * 3] * 2 + [[True, True, False]] * 2 + [[False] * 3]


def test_a_study_that_was_made_with_them_keeps_them(workdir, rows):
    assert main([*RUN, "--n-trials", "1", "--diagnostics", "distance, sharpness"]) == 0
    assert main([*RUN, "--n-trials", "2"]) == 0
    assert main([*RUN, "--n-trials", "3", "--diagnostics", "none"]) == 0
    first, second, third = rows("export")
    assert first["sharpness"] > 0
    assert second["distance_from_init"] > 0
    assert third["weight_norm"] is None


@pytest.mark.parametrize("asked", ["sharp", "distance,,"])
def test_an_unknown_diagnostic_is_refused(workdir, capsys, asked):
    assert main([*RUN, "--diagnostics", asked]) == 2
    assert "unknown diagnostic" in capsys.readouterr().err
