"""What `advise` says of a target, and a table that fits its terminal."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import pytest
from rich.console import Console

from batchfront.objectives.metric import Metric
from batchfront.study.answer.choice import answer_of
from batchfront.study.answer.known import Known, known_of
from batchfront.study.answer.table import answer_table
from batchfront.study.answer.to_target import _standard
from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.trials.attributes import CURVE
from batchfront.study.trials.sound import sound_trials
from batchfront.study.trials.yardstick import Yardstick
from tests.study.recorded import run_row

DIGITS = ("run", "--task", "digits", "--epochs", "3", "--batch-sizes", "16:256", "--n-trials", "12")
TARGET = 0.85


@pytest.fixture
def known(workdir, recorded) -> Known:
    recorded(workdir, *DIGITS)
    study = the_study("sqlite:///runs/batchfront.db", None)
    (found,) = known_of(study, sound_trials(study)).values()
    return found


def test_the_figures_are_medians_of_the_curves_near_the_rate(known, rows):
    sizes = {row["batch_size"]: row for row in rows("advise", "--target", str(TARGET))["sizes"]}
    trials = rows("export")
    seen = 0
    for size, found in sizes.items():
        near = [
            trial
            for trial in trials
            if trial["batch_size"] == size
            and trial["state"] == "COMPLETE"
            and abs(math.log2(trial["learning_rate"] / found["learning_rate"])) <= 1
        ]
        curves = [trial[CURVE] for trial in near]
        taken = [
            next((n for n, value in enumerate(curve, 1) if value >= TARGET), math.inf)
            for curve in curves
        ]
        wanted = median(taken) if taken else math.inf
        assert found["epochs_to_target"] == (wanted if math.isfinite(wanted) else None)
        if math.isfinite(wanted):
            seen += 1
            each = found["train_seconds"] / 3  # as known by now: the size may be probed again
            assert found["seconds_to_target"] == pytest.approx(wanted * each)
    assert seen > 0


def test_a_size_that_never_gets_there_says_so_and_one_without_a_target_has_no_column(known):
    for target, cell in ((0.999, "never"), (None, None)):
        asked = replace(known, target=target)
        table = answer_table(answer_of(asked), asked, width=200)
        heads = [column.header for column in table.columns]
        assert ("to 0.999" in heads) == (target is not None)
        if cell:
            cells = list(table.columns[heads.index("to 0.999")].cells)
            assert cell in cells
            assert set(cells) <= {"never", "-"}


def test_a_loss_falls_to_its_target():
    by = Yardstick(metric=Metric("val_loss", direction="minimize"), factor=-0.5, offset=1.0)
    row = run_row(8, 0.1, metric=0.2, curve=(0.9, 0.5, 0.3, 0.2), epochs=4)

    class Loss:
        yardstick = by

    assert _standard(row, Loss()).points_to(by.standard(0.4)) == 3


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_table_fits_without_wrapping_a_cell(known, capsys, width):
    asked = replace(known, target=TARGET)
    answer = answer_of(asked)
    table = answer_table(answer, asked, width=width)

    console = Console(width=width)
    with console.capture() as shown:
        console.print(table)
    lines = [line for line in shown.get().splitlines() if line.strip()]
    assert len(lines) == 2 + len(answer.sizes), "a line each, heading and rule"
    assert max(map(len, lines)) <= width
    assert any("to 0.85" in line for line in lines)


def test_a_target_that_no_value_can_reach_is_one_line(known, capsys):
    assert main(["advise", "--target", "95"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
