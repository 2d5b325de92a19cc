"""Studies recorded by older versions still open and resume."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest

from batchfront.study.cli.main import main

GOLDEN = sorted((Path(__file__).resolve().parents[2] / "data").glob("golden-*.db"))
OPTIONS = ("--task", "digits", "--mixed-hardware")  # wherever the tests run


def test_there_is_a_golden_study():
    assert GOLDEN


@pytest.mark.parametrize(
    "golden",
    [
        pytest.param(path, marks=[] if path in (GOLDEN[0], GOLDEN[-1]) else [pytest.mark.slow])
        for path in GOLDEN
    ],
    ids=lambda path: path.stem,
)
def test_a_golden_study_resumes_with_its_trials_unchanged(golden, workdir, rows):
    """Recorded by: run --epochs 5 --batch-sizes 16:512 --n-trials 14 --seed 1; from 0.6.0 on with
    --sampler random, which always finds runs to stop."""
    shutil.copy(golden, workdir / "old.db")
    storage = ("--storage", "sqlite:///old.db")
    before = rows("export", *storage)
    assert {row["state"] for row in before} == {"COMPLETE", "PRUNED"}
    assert main(["run", *OPTIONS, *storage, "--n-trials", "16"]) == 0
    after = rows("export", *storage)
    assert after[:14] == before
    assert len(after) == 16
    assert {row["epochs"] for row in after} == {5}
    study = optuna.load_study(study_name="digits", storage="sqlite:///old.db")
    assert all("log2_batch_size" in trial.params for trial in study.trials)  # as it began
    for row in after:  # of 1079 examples: what an epoch leaves over is still stepped on
        assert row["total_steps"] == 5 * -(-1079 // row["batch_size"])
    assert rows("front", *storage)
    assert main(["report", *storage, "-o", "report.html"]) == 0
