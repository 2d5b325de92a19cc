"""`--compile`, from the command line to the trial."""

from __future__ import annotations

import pytest
import torch

from batchfront.study.cli.main import main


@pytest.mark.slow
def test_a_compiled_study_says_so_in_every_trial_and_is_not_mixed_with_ordinary_steps(
    workdir, rows, capsys
):
    torch.compiler.reset()  # of graphs that other tests compiled
    argv = ["run", "--task", "diabetes", "--epochs", "2", "--batch-sizes", "32:64"]
    assert main([*argv, "--compile", "--n-trials", "2"]) == 0
    assert "compiling the training step" in capsys.readouterr().err
    assert [r["compiled"] for r in rows("export")] == [True, True]
    assert main([*argv, "--n-trials", "3"]) == 2
    assert "made with other step (compiled, now none)" in capsys.readouterr().err
    assert main([*argv, "--study-name", "ordinary", "--n-trials", "1"]) == 0
    assert [r["compiled"] for r in rows("export", "--study-name", "ordinary")] == [None]
    assert main([*argv, "--study-name", "ordinary", "--compile", "--n-trials", "3"]) == 2
    assert "made with other step (none, now compiled)" in capsys.readouterr().err
