"""The search sees no names and no units: another metric for the same thing is the same study."""

from __future__ import annotations

import math

import pytest

from batchfront.study.cli.main import main

PLANTED = """
import math, random
from batchfront import CustomLoop, Metric

def objective(params, run):
    draw = random.Random(params.seed)
    off = math.log10(params.learning_rate) + 2.2 - 0.2 * math.log2(params.batch_size)
    end = 0.02 + 0.004 * math.log2(params.batch_size) + 0.05 * off**2 + 0.003 * draw.random()
    size = params.batch_size
    run.begin(10 * params.epochs, baseline_metric={told}(0.1))
    run.told_cost(step_seconds=1e-3 * (1 + 200 / size), peak_memory_bytes=10_000 + 100 * size)
    for epoch in range(1, params.epochs + 1):
        error = min(end, 0.9) + 0.6 * math.exp(-epoch / 3) + 0.002 * draw.random()
        for _ in range(10):
            run.step(error)
        run.report({told}(1 - error))

task = CustomLoop(function=objective, metric=Metric("val_it", {how}), default_epochs=12)
"""
TOLD = {  # how the metric follows from an accuracy, and what is declared of it
    "accuracy": ("float", "bound=1"),
    "minus": ("(lambda m: -m)", "direction='minimize', bound=-1"),
    "percent": ("(lambda m: 100 * m)", "bound=100"),
    "loss": ("(lambda m: 1 - m)", "direction='minimize'"),
    "minus loss": ("(lambda m: m - 1)", "direction='maximize'"),
    "twice": ("(lambda m: 2 * (1 - m))", "direction='minimize'"),
    "bits": ("(lambda m: (1 - m) / math.log(2))", "direction='minimize'"),
    "shifted": ("(lambda m: 6 - m)", "direction='minimize'"),
}
N_TRIALS = 24


@pytest.fixture(scope="module")
def searched(tmp_path_factory, request):
    made = {}

    def search(kind: str):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind.replace(" ", "-"))
            told, how = TOLD[kind]
            task = folder / "mine.py"
            task.write_text(PLANTED.replace("{told}", told).replace("{how}", how))
            url = f"journal:///{folder}/runs.log"
            argv = ["run", "--task", str(task), "--storage", url, "--study-name", "s"]
            assert main([*argv, "--n-trials", str(N_TRIALS), "--checkpoint-dir", "none"]) == 0
            made[kind] = url
        return made[kind]

    return search


@pytest.fixture
def shown(searched, rows):
    def show(kind: str):
        where = ("--storage", searched(kind))
        runs = [(r["batch_size"], r["learning_rate"], r["verdict"]) for r in rows("export", *where)]
        return runs, [r["number"] for r in rows("front", *where)]

    return show


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("minus", "accuracy"),
        pytest.param("minus loss", "loss", marks=pytest.mark.slow),
        pytest.param("twice", "loss", marks=pytest.mark.slow),
    ],
)
def test_a_sign_or_a_power_of_two_changes_nothing_at_all(kind, other, shown):
    runs, front = shown(kind)
    assert (runs, front) == shown(other)
    assert len(front) > 3
    verdicts = {verdict for _, _, verdict in runs}
    assert {"completed", "dominated"} <= verdicts, "stops are compared as well"


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("percent", "accuracy"),
        ("shifted", "loss"),
        pytest.param("bits", "loss", marks=pytest.mark.slow),
    ],
)
def test_another_unit_or_another_zero_changes_rounding_alone(kind, other, shown):
    runs, front = shown(kind)
    others, other_front = shown(other)
    assert front == other_front
    for (size, rate, verdict), (size_there, rate_there, verdict_there) in zip(
        runs, others, strict=True
    ):
        assert (size, verdict) == (size_there, verdict_there)
        assert math.isclose(rate, rate_there, rel_tol=1e-3)


def test_a_loss_is_searched_about_as_well_as_the_accuracy_that_it_is(shown, rows, searched):
    best = {
        kind: min(abs(row["val_it"] - ideal) for row in rows("front", "--storage", searched(kind)))
        for kind, ideal in (("accuracy", 1.0), ("loss", 0.0))
    }
    assert best["loss"] < 1.5 * best["accuracy"]
