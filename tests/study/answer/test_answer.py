"""The answer, held against worlds whose best batch size, rate and metric are known."""

from __future__ import annotations

import json
import math
import random
from statistics import mean, median
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from batchfront.objectives.metric import LOSS, Metric
from batchfront.study.answer.choice import Answer, _alternatives, answer_of
from batchfront.study.answer.known import Known, known_of
from batchfront.study.answer.show import answer_lines, answers_json, metric_of, sentences
from batchfront.study.cli.main import main
from batchfront.study.quiet import quiet_optuna
from batchfront.study.show import trials_word
from batchfront.study.trials.attributes import AGREEMENT, CONSTRAINT
from batchfront.study.trials.yardstick import TIE, stored_metric

SIZES = range(10)  # log2
NOISE = 0.15  # deviation of log error between seeds
SPACE = {
    "log2_batch_size": IntDistribution(0, 9),
    "learning_rate": FloatDistribution(1e-3, 10, log=True),
}


def true_error(log2_size: int, rate: float) -> float:
    """Least at size 8 and below; at every size at rate 0.02 * sqrt(size)."""
    off = math.log10(rate / (0.02 * 2 ** (log2_size / 2)))
    return 0.03 * 1.35 ** max(0, log2_size - 3) * math.exp(1.5 * off**2)


def seconds(log2_size: int) -> float:
    return float(60 * 2 ** (-0.8 * log2_size))


def made_study(metric: str = "val_accuracy", directions: str = "maximize") -> optuna.Study:
    study = optuna.create_study(directions=[directions, "minimize", "minimize"])
    with quiet_optuna():
        study.set_metric_names([metric, "train_seconds", "peak_memory_bytes"])
    return study


def world(seed: int, *, n_trials: int = 40) -> optuna.Study:
    """A study that tried sizes and rates near the best ones."""
    study, draw = made_study(), random.Random(seed)
    for _ in range(n_trials):
        size = draw.choice(SIZES)
        rate = 0.02 * 2 ** (size / 2) * 10 ** draw.gauss(0, 0.5)
        error = true_error(size, min(max(rate, 1e-3), 10)) * math.exp(draw.gauss(0, NOISE))
        add(study, size, min(max(rate, 1e-3), 10), 1 - min(error, 1.0))
    return study


def add(study: optuna.Study, size: int, rate: float, metric: float, grade: float = 0.0) -> None:
    study.add_trial(
        create_trial(
            values=[metric, seconds(size), 1e5 * 2**size],
            params={"log2_batch_size": size, "learning_rate": rate},
            distributions=SPACE,
            constraints={CONSTRAINT: grade},
        )
    )


def answered(study: optuna.Study, **asked: object) -> tuple[Answer, Known]:
    (known,) = known_of(study, study.trials).values()
    return answer_of(known, **asked), known  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_is_promised_is_what_a_fresh_run_reaches_and_not_what_the_luckiest_one_did():
    promised, lucky = [], []
    for seed in range(8):
        study = world(seed)
        answer, _ = answered(study)
        assert answer.recommended is not None
        found = answer.recommended.shown
        truth = true_error(found.batch_size.bit_length() - 1, found.learning_rate)
        promised.append(math.log(found.error / truth))
        best = max(study.trials, key=lambda trial: trial.values[0])
        there = true_error(best.params["log2_batch_size"], best.params["learning_rate"])
        lucky.append(math.log((1 - best.values[0]) / there))
    assert mean(lucky) < -0.1
    assert abs(mean(promised)) < abs(mean(lucky)) / 2


@pytest.mark.slow
def test_most_fresh_runs_end_inside_the_interval():
    draw, inside = random.Random(0), []
    for seed in range(6):
        answer, _ = answered(world(seed))
        for size in answer.sizes:
            low, high = size.shown.fresh_run
            truth = true_error(size.batch_size.bit_length() - 1, size.shown.learning_rate)
            runs = [truth * math.exp(draw.gauss(0, NOISE)) for _ in range(20)]
            inside.append(mean(low <= error <= high for error in runs))
    assert 0.82 < mean(inside) < 0.99


def test_the_fastest_size_within_the_tolerance_is_recommended():
    answer, _ = answered(world(1))
    assert answer.recommended is not None
    assert answer.best is not None
    assert answer.best.batch_size <= 16
    assert 4 <= answer.recommended.batch_size <= 32
    faster = [s for s in answer.sizes if s.batch_size > answer.recommended.batch_size]
    limit = answer.best.error + answer.tolerance
    assert all(size.shown.error_at_most(0.5) > limit for size in faster)


def test_a_tolerance_that_all_meet_gives_the_fastest_and_a_preference_its_own():
    study = world(2)
    assert answered(study, within=0.9)[0].recommended.batch_size == 512  # type: ignore[union-attr]
    least = answered(study, within=0.9, prefer="memory")[0]
    assert least.recommended.batch_size == 1  # type: ignore[union-attr]
    chosen = answered(study, within=0.9, prefer="metric")[0]
    assert chosen.recommended is chosen.best


def test_a_loss_is_answered_as_the_accuracy_that_it_is_the_rest_of():
    study = world(3)
    mirrored = made_study("val_error", "minimize")
    metric = Metric("val_error", direction="minimize", bound=0.0)
    mirrored.set_user_attr(AGREEMENT, stored_metric(metric))
    for trial in study.trials:
        size, rate = trial.params["log2_batch_size"], trial.params["learning_rate"]
        add(mirrored, size, rate, 1 - trial.values[0])
    (one, _), (other, known) = answered(study), answered(mirrored)
    assert one.recommended is not None
    assert other.recommended is not None
    assert other.recommended.batch_size == pytest.approx(one.recommended.batch_size, rel=1)
    _, low, high = metric_of(other.recommended.shown, known)
    assert low < high < 0.2
    assert "val_error 0.0" in sentences(other, known)[0]


def test_sizes_whose_losses_are_all_worse_than_the_usual_one_are_not_called_as_good_as_it():
    """A table of final losses: nobody knows what is useless but by the median run."""
    study = made_study("val_loss", "minimize")
    study.set_user_attr(AGREEMENT, stored_metric(LOSS))
    losses: dict[int, list[float]] = {}
    for size, base in {0: 2.6, 1: 2.55, 2: 2.45, 3: 2.44, 4: 2.43, 5: 2.43, 6: 2.44}.items():
        for step in range(-3, 4):
            losses.setdefault(size, []).append(base + 0.01 * step**2)
            add(study, size, 0.05 * 2.0**step, losses[size][-1])
    answer, known = answered(study)
    usual = median(loss for some in losses.values() for loss in some)
    worst = [size for size in answer.sizes if min(losses[size.batch_size.bit_length() - 1]) > usual]
    assert [size.batch_size for size in worst] == [1, 2]
    for size in worst:
        _, low, high = metric_of(size.shown, known)
        assert low <= min(losses[size.batch_size.bit_length() - 1]) <= high
        assert 0.02 < size.shown.learning_rate < 0.12


def test_a_size_that_breaks_a_budget_is_shown_and_never_recommended():
    study = world(4)
    free, _ = answered(study)
    assert free.recommended is not None
    broken = made_study()
    for trial in study.trials:
        size, rate = trial.params["log2_batch_size"], trial.params["learning_rate"]
        over = 2**size == free.recommended.batch_size
        add(broken, size, rate, trial.values[0], grade=5.0 if over else 0.0)
    answer, known = answered(broken)
    assert answer.recommended is not None
    assert answer.recommended.batch_size != free.recommended.batch_size
    rows = {row["batch_size"]: row for row in answers_json({"": (answer, known)})["sizes"]}
    assert rows[free.recommended.batch_size]["reason"] == "its runs broke a budget"


def test_the_tasks_own_parameters_are_part_of_the_recommendation():
    study, draw = made_study(), random.Random(0)
    parameter = {"choices": ["slow", "good"]}
    study.set_user_attr(
        AGREEMENT,
        {
            "space": {
                "batch_sizes": [1, 512],
                "learning_rates": [1e-3, 10],
                "search": {"how": parameter},
            }
        },
    )
    for _ in range(40):
        size, how = draw.choice(SIZES), draw.choice(["slow", "good"])
        rate = 0.02 * 2 ** (size / 2) * 10 ** draw.gauss(0, 0.4)
        error = (
            true_error(size, rate) * (3 if how == "slow" else 1) * math.exp(draw.gauss(0, NOISE))
        )
        study.add_trial(
            create_trial(
                values=[1 - min(error, 1.0), seconds(size), 1e5],
                params={"log2_batch_size": size, "learning_rate": rate, "how": how},
                distributions={**SPACE, "how": CategoricalDistribution(["slow", "good"])},
            )
        )
    answer, known = answered(study)
    assert answer.recommended is not None
    assert answer.recommended.shown.params == {"how": "good"}
    assert ", how good:" in sentences(answer, known)[0]


@pytest.mark.parametrize("n_trials", [0, 4])
def test_a_few_runs_are_no_answer(n_trials):
    study = world(0, n_trials=n_trials)
    (line,) = answer_lines(study, study.trials)
    assert line == (f"No recommendation yet: {n_trials} runs completed, wanted at least 5.")


@pytest.mark.parametrize("metric", [0.9, 1.0, 0.0])
def test_runs_that_all_tie_have_an_answer(metric):
    study = made_study()
    for size in SIZES:
        add(study, size, 0.1, metric)
    answer, known = answered(study)
    assert answer.recommended is not None
    assert answer.recommended.batch_size == 512
    mean_, low, high = metric_of(answer.recommended.shown, known)
    assert low <= mean_ <= high
    assert mean_ == pytest.approx(metric, abs=0.02)


def test_one_batch_size_has_an_answer():
    study = made_study()
    for n in range(8):
        add(study, 5, 0.01 * 2**n, 0.9 - 0.01 * abs(n - 4))
    answer, _ = answered(study)
    assert answer.recommended is not None
    assert answer.recommended.batch_size == 32
    assert answer.alternatives == {}
    assert 0.05 < answer.recommended.shown.learning_rate < 0.5


def test_the_command_answers_imported_runs_in_words_and_json(workdir, capsys):
    rows = ["batch_size,learning_rate,val_accuracy"]
    for trial in world(5).trials:
        size, rate = 2 ** trial.params["log2_batch_size"], trial.params["learning_rate"]
        rows.append(f"{size},{rate},{trial.values[0]}")
    (workdir / "runs.csv").write_text("\n".join(rows) + "\n")
    assert main(["import", "runs.csv"]) == 0
    capsys.readouterr()
    assert main(["advise"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Train with batch size ")
    assert max(map(len, text.splitlines())) <= 100
    assert main(["advise", "--json", "--prefer", "metric"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recommended"]["batch_size"] == found["best"]
    assert found["recommended"]["train_seconds"] is None
    row = found["sizes"][0]
    assert row["metric_low"] < row["expected_metric"] < row["metric_high"]
    assert len(row["trials"]) == row["n_runs"]
    assert main(["advise", "--trials"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{row['batch_size']}: {trials_word(row['trials'])}" in lines


@pytest.mark.parametrize("words", [["--prefer", "cheap"], ["--within", "0"], ["--within", "nan"]])
def test_what_cannot_be_asked_is_refused_in_one_line(words, workdir, capsys):
    assert main(["advise", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def advice(batch_size: int, error: float, seconds: float, memory: int) -> Any:
    return SimpleNamespace(
        batch_size=batch_size,
        error=error,
        train_seconds=seconds,
        peak_memory_bytes=memory,
        shown=SimpleNamespace(tie=TIE),
    )


def test_who_is_short_of_memory_is_told_of_a_size_that_needs_less_than_those_named_anyway():
    chosen, best = advice(64, 0.027, 0.12, 176), advice(4, 0.025, 1.6, 115)
    hardly_less, half = advice(2, 0.026, 3.2, 114), advice(1, 0.026, 6.4, 60)
    sizes = [chosen, best, hardly_less]
    assert set(_alternatives(sizes, sizes, best, chosen)) == {"metric"}
    assert _alternatives([*sizes, half], sizes, best, chosen)["memory"] is half
    assert _alternatives([chosen, hardly_less], [chosen], chosen, chosen)["memory"] is hardly_less
