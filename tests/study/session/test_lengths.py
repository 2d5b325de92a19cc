"""Studies whose runs are as long as so many examples, steps or tokens."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from batchfront.study.cli.main import main
from batchfront.study.plan.agreement import AGREEMENT
from tests.study.conftest import study_of

LANGUAGE = str(Path(__file__).resolve().parents[3] / "examples" / "language.py")
DIGITS = ("run", "--task", "digits", "--batch-sizes", "64:256", "--learning-rates", "0.01:0.5")
N_TRAIN = 1079  # of digits


def said(capsys, *argv: str) -> str:
    """The one line by which a command is refused."""
    capsys.readouterr()
    assert main(list(argv)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("prob")]
    assert len(lines) == 1, lines
    return lines[0]


def test_examples_of_whole_epochs_give_the_values_of_epochs(journal, rows):
    values = []
    for name, length in (("a", ("--epochs", "2")), ("b", ("--examples", str(2 * N_TRAIN)))):
        more = ("--n-trials", "4", "--study-name", name, "--pruner", "none", "--sampler", "random")
        assert main([*DIGITS, *length, *more]) == 0
        found = rows("export", "--study-name", name)
        names = ("batch_size", "learning_rate", "val_accuracy", "total_steps", "metric_curve")
        values.append([[row[one] for one in names] for row in found])
    assert values[0] == values[1]
    assert {len(row[-1]) for row in values[0]} == {2}


@pytest.mark.slow
def test_equal_examples_and_equal_steps_are_what_runs_take(journal, rows):
    run = ("--n-trials", "5", "--sampler", "grid", "--learning-rates", "0.05:0.05")
    for unit, amount in (("examples", 3000), ("steps", 20)):
        more = ("--study-name", unit, "--pruner", "none", "--evaluations", "4")
        assert main([*DIGITS, f"--{unit}", str(amount), *run, *more]) == 0
        for row in rows("export", "--study-name", unit):
            steps = amount // row["batch_size"] if unit == "examples" else amount
            assert row["steps"] == row["total_steps"] == steps
            assert row["planned_train_seconds"] == pytest.approx(row["train_seconds"])
            assert len(row["metric_curve"]) == 4
            assert row["run_length"]["unit"] == unit


def test_a_bare_rerun_goes_on_with_the_length_and_another_is_refused(journal, capsys):
    assert main([*DIGITS, "--examples", "1500", "--evaluations", "3", "--n-trials", "2"]) == 0
    assert "1500 examples, 3 evaluations" in capsys.readouterr().err
    record = study_of("digits").user_attrs[AGREEMENT]
    assert (record["epochs"], record["examples"], record["evaluations"]) == (None, 1500, 3)
    assert main([*DIGITS, "--n-trials", "3"]) == 0
    assert main([*DIGITS, "--examples", "1500", "--n-trials", "4"]) == 0
    assert len(study_of("digits").trials) == 4
    for other in (
        ("--examples", "1600"),
        ("--steps", "9"),
        ("--epochs", "2"),
        ("--evaluations", "2"),
    ):
        assert "was made with other" in said(capsys, *DIGITS, *other, "--n-trials", "5")
    assert len(study_of("digits").trials) == 4


def test_studies_of_epochs_are_stored_as_ever_and_take_no_other_length(journal, capsys):
    assert main([*DIGITS, "--epochs", "1", "--n-trials", "1"]) == 0
    record, (trial,) = study_of("digits").user_attrs[AGREEMENT], study_of("digits").trials
    assert record["epochs"] == trial.user_attrs["epochs"] == 1
    assert not {"examples", "evaluations"} & set(record)
    assert "run_length" not in trial.user_attrs
    assert "examples (none, now 500)" in said(capsys, *DIGITS, "--examples", "500")
    assert "evaluations (none, now 2)" in said(capsys, *DIGITS, "--evaluations", "2")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--epochs", "2", "--examples", "9"), "found epochs and examples, wanted one of epochs"),
        (("--steps", "2", "--tokens", "9"), "found steps and tokens, wanted one of epochs"),
        (("--tokens", "900"), "does not say how many tokens an example has: declare tokens_per"),
        (("--examples", "900", "--evaluations", "4"), "takes 3 steps at batch size 256: wanted at"),
        (("--steps", "3", "--evaluations", "4"), "takes 3 steps at batch size 256: wanted at mo"),
        (("--examples", "63"), "has 63 examples, and the smallest batch 64: wanted more examples"),
        (("--examples", "999", "--warmup-examples", "999"), "a run sees 999 in all: wanted fewer"),
        (("--steps", "9", "--warmup-examples", "577"), "a run sees 576 in all: wanted fewer"),
    ],
)
def test_a_length_that_cannot_be_is_refused_before_anything_is_made(
    journal, capsys, options, words
):
    assert words in said(capsys, *DIGITS, *options)
    assert not Path("runs").exists()


def test_a_batch_of_more_examples_than_a_run_has_is_cut_from_the_space(journal, capsys):
    assert main([*DIGITS, "--examples", "200", "--n-trials", "2", "--evaluations", "1"]) == 0
    assert "64..128" in capsys.readouterr().err
    assert {t.params["batch_size"] for t in study_of("digits").trials} <= {64, 128}


CUT = """
    import os, signal
    from dataclasses import replace

    from torch.nn.functional import cross_entropy

    from batchfront.objectives.tasks.digits import digits

    SEEN = [0]

    def loss(output, y):
        SEEN[0] += os.path.exists("cut")
        if SEEN[0] == 12 and os.path.exists("cut"):
            os.remove("cut")
            os.kill(os.getpid(), signal.SIGINT)
        return cross_entropy(output, y)

    def task():
        return replace(digits(), loss=loss)
"""


def test_a_trial_cut_off_in_the_middle_of_an_epoch_ends_as_one_that_was_not(
    journal, write_task, rows
):
    task = write_task(CUT)
    run = ("run", "--task", task, "--examples", "1500", "--evaluations", "5", "--pruner", "none")
    run = (*run, "--batch-sizes", "16:16", "--sampler", "random", "--learning-rates", "0.01:0.2")
    assert main([*run, "--n-trials", "2", "--study-name", "whole"]) == 0
    assert main([*run, "--n-trials", "1", "--study-name", "cut"]) == 0
    Path("cut").touch()
    assert main([*run, "--n-trials", "2", "--study-name", "cut"]) == 130
    assert main([*run, "--n-trials", "2", "--study-name", "cut"]) == 0
    *_, whole = rows("export", "--study-name", "whole")
    _, lost, again = rows("export", "--study-name", "cut")
    assert (lost["fail_reason"], again["retry_of"]) == ("interrupted", lost["number"])
    assert len(lost["metric_curve"] or []) < 5
    for name in ("learning_rate", "seed", "val_accuracy", "metric_curve", "train_loss", "steps"):
        assert again[name] == whole[name]


@pytest.mark.slow
def test_a_target_is_counted_in_the_unit_of_the_length(journal, rows):
    run = (*DIGITS, "--n-trials", "2", "--learning-rates", "0.1:0.1", "--target", "0.3")
    for unit, amount in (("examples", 3200), ("steps", 24)):
        more = ("--study-name", unit, "--evaluations", "8", "--pruner", "none")
        assert main([*run, f"--{unit}", str(amount), *more]) == 0
        for row in rows("export", "--study-name", unit):
            curve = row["metric_curve"]
            first = next(n for n, value in enumerate(curve, 1) if value >= 0.3)
            assert row[f"{unit}_to_target"] == amount * first / 8
            assert row["epochs_to_target"] is None


@pytest.mark.slow
def test_a_language_model_is_trained_for_less_than_an_epoch_and_answers_in_tokens(
    journal, rows, capsys
):
    model = ("--task", LANGUAGE, "--tokens", "12800", "--batch-sizes", "4:16")
    rate = ("--learning-rates", "0.005:0.05", "--target", "2.8", "--seeds", "3")
    assert main(["smallest", *model, *rate]) == 0
    printed = capsys.readouterr()
    assert "12800 tokens, 20 evaluations" in printed.err
    assert "tokens to it" in printed.out
    answer = rows("smallest", "--target", "2.8", "--seeds", "3", "--max-trials", "0")
    assert answer["answer"] in (4, 8), answer
    for size in answer["ladder"]:
        if size["tokens_to_target"] is not None:
            assert size["tokens_to_target"] == pytest.approx(32 * size["examples_to_target"])
            assert size["examples_to_target"] == pytest.approx(
                size["batch_size"] * size["steps_to_target"], rel=0.1
            )
    found = rows("critical-batch", "--target", "3.2")
    assert found["unit"] == "tokens"
    reached = [row for row in found["rows"] if row["to_target"] is not None]
    assert reached
    assert all(0 < row["to_target"] <= 12800 for row in reached)


LOOP = """
    def objective(params, run):
        run.begin(10 * params.epochs, baseline_loss=1.0)
        for epoch in range(params.epochs):
            for _ in range(10):
                {wait}
                run.step(0.5)
            run.report(0.5 + 0.01 * epoch)
"""


def test_a_run_that_takes_too_long_is_ended_told_why_and_never_on_the_front(
    journal, write_task, rows, capsys
):
    slow = "import time; time.sleep(0.01 if params.batch_size < 4 else 0)"
    task = write_task(LOOP.format(wait=slow))
    run = ("run", "--task", task, "--batch-sizes", "2:4", "--epochs", "6", "--sampler", "grid")
    limited = ("--max-trial-seconds", "0.3", "--early-stopping", "9", "--pruner", "none")
    rates = ("--learning-rates", "0.1:0.1")
    assert main([*run, *limited, *rates, "--n-trials", "2"]) == 0
    ended, whole = sorted(rows("export"), key=lambda row: row["batch_size"])
    assert (whole["verdict"], whole["state"]) == ("completed", "COMPLETE")
    assert (ended["verdict"], ended["state"]) == ("over_budget", "PRUNED")
    assert "max_trial_seconds is 0.3" in ended["reason"]
    assert 0 < len(ended["metric_curve"]) < 6, "what it reached is kept"
    assert {row["number"] for row in rows("front")} == {whole["number"]}
    assert "other budgets" in said(capsys, *run, *rates, "--max-trial-seconds", "9")


def test_sizes_that_are_known_to_take_too_long_are_not_begun(journal, write_task, capsys):
    slow = "import time; time.sleep(0.005 if params.batch_size < 4 else 0)"
    task = write_task(LOOP.format(wait=slow))
    run = ("run", "--task", task, "--batch-sizes", "2:4", "--epochs", "6", "--n-trials", "2")
    assert main([*run, "--max-trial-seconds", "0.2"]) == 0
    assert {t.params["batch_size"] for t in study_of("mine.py:objective").trials} == {4}
    one = said(capsys, *run, "--study-name", "b", "--max-trial-seconds", "1e-9")
    assert "max_trial_seconds is" in one


def test_a_recorded_length_is_played_back_and_imported_as_what_it_is(journal, rows, capsys):
    grid = ("--batch-sizes", "32:64", "--learning-rates", "0.05:0.1", "--n-rates", "2")
    length = ("--examples", "2000", "--evaluations", "5")
    assert (
        main(["record", "--task", "digits", *grid, *length, "--n-seeds", "1", "-o", "t.csv"]) == 0
    )
    with open("t.csv") as stream:
        table = list(csv.DictReader(stream))
    assert [row["examples"] for row in table[:5]] == ["400", "800", "1200", "1600", "2000"]
    assert main(["run", "--task", "t.csv", "--n-trials", "2", "--pruner", "none"]) == 0
    record = study_of("t.csv").user_attrs[AGREEMENT]
    assert (record["epochs"], record["examples"], record["evaluations"]) == (None, 2000, 5)
    assert "holds curves of 2000 examples" in said(
        capsys, "run", "--task", "t.csv", "--epochs", "3", "--study-name", "b"
    )
    shutil.copy("t.csv", "theirs.csv")
    assert main(["import", "theirs.csv"]) == 0
    found = rows("critical-batch", "--study-name", "theirs", "--target", "0.2")
    assert found["unit"] == "examples"


def test_a_study_of_few_examples_and_small_batches_is_gone_on_with(journal, rows):
    made = ("run", "--batch-sizes", "64:128", "--examples", "2500")
    assert main([*made, "--n-trials", "1"]) == 0
    assert main(["run", "--n-trials", "2"]) == 0, (
        "the usual sizes take too few steps, and do not count"
    )
    assert len(rows("export")) == 2
    assert {row["batch_size"] for row in rows("probe")} == {64, 128}
