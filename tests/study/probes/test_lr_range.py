"""The learning-rate range test, and studies that take their rates from it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from batchfront.objectives.probes.lr_range import is_cut, smooth, suggested
from batchfront.study.cli.main import main

from ..conftest import study_of

pytestmark = pytest.mark.usefixtures("journal")


def test_smoothing_is_a_mean_over_both_sides():
    losses = np.random.default_rng(0).normal(size=50).tolist()
    found = smooth(losses, 3)
    assert found[3:-3] == pytest.approx(np.convolve(losses, np.ones(7) / 7, mode="valid"))
    assert found[0] == pytest.approx(losses[0])


def test_the_range_is_where_the_loss_falls_until_it_is_back_at_its_start():
    decades = np.linspace(-6, 1, 701)
    loss = np.full(701, 2.0)
    down, up = (decades >= -3) & (decades < -1), decades >= -1
    loss[down] = 2.0 - 0.9 * (decades[down] + 3)
    loss[up] = 0.2 + 1.8 * (decades[up] + 1) / 1.5  # back at 2.0 half a decade above 1
    low, high = suggested((10**decades).tolist(), loss.tolist())
    assert math.log10(low) == pytest.approx(-2.9, abs=0.03)  # a twentieth of the way down
    assert math.log10(high) == pytest.approx(0.5, abs=0.03)


def test_nothing_is_suggested_where_the_loss_only_rises():
    assert suggested([1e-3, 1e-2, 1e-1], [1.0, 2.0, 3.0]) is None


def test_a_range_that_begins_where_the_test_does_is_cut():
    rates = np.geomspace(1e-6, 1.0, 100).tolist()
    falls = np.linspace(2.0, 1.0, 100).tolist()  # from the first step on
    assert is_cut(rates, falls, suggested(rates, falls))
    late = [2.0] * 50 + np.linspace(2.0, 1.0, 50).tolist()
    assert not is_cut(rates, late, suggested(rates, late))
    rises = np.linspace(1.0, 2.0, 100).tolist()
    assert is_cut(rates, rises, None), "all rates may have been too high"
    assert not is_cut(rates, [2.0] * 50 + [1.9] + [3.0] * 49, None)


LINEAR = """
    import torch
    from batchfront import Data, Task

    x = {scale} * torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    y = {of_y} + (x[:, 0] - x[:, 1])

    def data():
        return Data(x_train=x[:400], y_train=y[:400], x_val=x[400:500], y_val=y[400:500],
                    x_test=x[500:], y_test=y[500:])

    def model():
        return torch.nn.Sequential(torch.nn.Linear(8, 1), torch.nn.Flatten(0))

    task = Task(name="mine", data=data, model=model, loss=torch.nn.functional.mse_loss,
                optimizer=torch.optim.SGD, metric="r2", epochs=1)
"""


def test_a_range_in_which_nothing_beats_a_constant_is_refused(write_task, capsys):
    write_task(LINEAR.format(scale=1.0, of_y=3e5))
    for command in (["lr-range"], ["run", "--learning-rates", "auto", "--batch-sizes", "64"]):
        assert main([*command, "--task", "mine.py"]) == 2
        said = capsys.readouterr().err
        assert "the best constant predictor has" in said
        assert "scale inputs and targets, or give --learning-rates LOW:HIGH" in said


def test_rates_below_the_usual_ones_are_found_and_said(write_task, rows, capsys):
    write_task(LINEAR.format(scale=20_000.0, of_y=0.0))
    found = rows("lr-range", "--task", "mine.py")
    assert found["low"] < found["high"] < 1e-6
    run = ["run", "--task", "mine.py", "--learning-rates", "auto", "--batch-sizes", "64"]
    assert main([*run, "--n-trials", "1"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "they reach below 1e-06, where tests begin" in said


def test_the_verb_suggests_a_range_that_digits_trains_in(workdir, rows, capsys):
    found = rows("lr-range", "--batch-size", "32")
    assert found["exploded"]
    assert 1e-3 < found["low"] < 0.05 < 0.3 < found["high"] < 5.0
    assert main(["lr-range", "--batch-size", "32", "-o", "range.html"]) == 0
    said = capsys.readouterr().out
    assert f"--learning-rates {found['low']:.2g}:{found['high']:.2g}" in said
    assert max(map(len, said.splitlines())) <= 100
    assert "plotly" in (workdir / "range.html").read_text()


def test_it_is_the_same_test_every_time(workdir, rows):
    assert rows("lr-range", "--batch-size", "8") == rows("lr-range", "--batch-size", "8")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--task", "planted.py"], "a training loop of your own"),
        (["--batch-size", "4096"], "batch size is 4096, wanted 1 to 1079"),
    ],
)
def test_what_cannot_be_tested_is_refused(workdir, capsys, args, words):
    assert main(["lr-range", *args]) == 2
    assert words in capsys.readouterr().err


def test_a_new_study_takes_its_rates_from_range_tests_and_keeps_them(workdir, rows, capsys):
    ends = [rows("lr-range", "--batch-size", size) for size in ("8", "128")]
    command = ["run", "--learning-rates", "auto", "--batch-sizes", "8:128", "--epochs", "2"]
    assert main([*command, "--n-trials", "2"]) == 0
    assert "from range tests" in capsys.readouterr().err
    study = study_of("digits")
    low, high = study.user_attrs["batchfront"]["space"]["learning_rates"]
    assert low == pytest.approx(min(end["low"] for end in ends))
    assert high == pytest.approx(max(end["high"] for end in ends))
    assert main([*command, "--n-trials", "3"]) == 0  # the same command
    assert main(["run", "--n-trials", "4"]) == 0  # a bare one
    assert "from range tests" not in capsys.readouterr().err
    assert main(["run", "--learning-rates", "1e-3:1"]) == 2
    trials = study_of("digits").trials
    assert len(trials) == 4
    assert json.dumps([low, high]) == json.dumps(
        study.user_attrs["batchfront_defaults"]["asked"]["learning_rates"]
    )


def test_suggested_rates_become_base_rates_where_they_are_scaled(workdir, rows):
    ends = [rows("lr-range", "--batch-size", size) for size in ("16", "64")]
    scaled = ["--scale-rule", "linear", "--scale-reference", "32"]
    command = ["run", "--learning-rates", "auto", "--batch-sizes", "16:64", "--epochs", "2"]
    assert main([*command, *scaled, "--n-trials", "1"]) == 0
    study = study_of("digits")
    found = study.user_attrs["batchfront"]["space"]["learning_rates"]
    bases = [end[key] * 32 / end["batch_size"] for end in ends for key in ("low", "high")]
    assert found == pytest.approx([min(bases), max(bases)], rel=0.05)
