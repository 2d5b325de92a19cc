"""What a run says where there is little to say."""

from __future__ import annotations

import pytest

from batchfront.storage.names import folder_of
from batchfront.study.cli.main import main
from batchfront.study.show import counted

LOOP = """
    {imports}

    def objective(params, run):
        run.begin(10 * params.epochs, baseline_loss=1.0, baseline_metric=0.5)
        for epoch in range(params.epochs):
            for _ in range(10):
                run.step(0.5)
            run.report({metric})
            {then}
"""
RUN = ["run", "--task", "mine.py", "--batch-sizes", "8", "--epochs", "2", "--sampler", "random"]


@pytest.fixture
def mine(write_task):
    """Writes a loop that reports a metric, and then does something."""

    def write(metric: str, *, then: str = "pass", imports: str = "") -> None:
        write_task(LOOP.format(metric=metric, then=then, imports=imports))

    return write


@pytest.mark.parametrize(("metric", "said"), [("0.5", True), ("0.4", True), ("0.6", False)])
def test_a_front_that_no_better_than_a_constant_is_on_is_called_so(mine, metric, said, capsys):
    mine(metric)
    assert main([*RUN, "--n-trials", "2", "--pruner", "none"]) == 0
    assert ("no run is better than a constant prediction" in capsys.readouterr().err) is said


def test_one_trial_is_not_one_trials(mine, capsys):
    mine("0.6")
    assert main([*RUN, "--n-trials", "1"]) == 0
    said = capsys.readouterr().err
    assert "1 trial: 1 completed" in said
    assert "1 trials" not in said
    assert (counted(0, "run"), counted(2, "run")) == ("0 runs", "2 runs")


def test_trial_pruned_raised_in_a_loop_is_a_verdict(mine, rows):
    mine("0.6", then="raise optuna.TrialPruned('no use')", imports="import optuna")
    assert main([*RUN, "--n-trials", "2"]) == 0
    for row in rows("export"):
        assert (row["state"], row["verdict"], row["reason"]) == ("PRUNED", "pruned", "no use")


def test_an_error_in_a_users_data_says_file_and_line(write_task, capsys):
    write_task("""
        import torch
        from batchfront import Task

        def data():
            return 1 / 0

        task = Task(name="t", data=data, model=lambda: torch.nn.Linear(1, 1),
                    loss=torch.nn.functional.mse_loss, optimizer=torch.optim.SGD)
    """)
    assert main(RUN) == 2
    assert "ZeroDivisionError: division by zero (mine.py line 6)" in capsys.readouterr().err


def test_a_storage_may_lie_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_of("sqlite:///~/studies/x.db") == tmp_path / "studies"
    assert folder_of("journal:///~/studies/x.log") == tmp_path / "studies"


def test_a_study_in_which_everything_failed_does_not_block_its_name(
    mine, rows, capsys, dashboard_figures
):
    mine("0.6", then="raise ValueError('a slip')")
    more = ["--n-trials", "9", "--study-name", "mine"]
    assert main([*RUN, *more]) == 1
    mine("0.7")
    wider = [*RUN, *more, "--batch-sizes", "8:16"]
    assert main([*wider, "--epochs", "3"]) == 0
    assert "all trials of the study had failed: it is made anew" in capsys.readouterr().err
    states = [row["state"] for row in rows("export")]
    assert states == ["FAIL"] * 3 + ["COMPLETE"] * 6
    assert {row["epochs"] for row in rows("export")[3:]} == {3}
    mine("0.8")
    assert main([*RUN, *more]) == 2  # now there is something to keep
