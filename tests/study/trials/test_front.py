"""The Pareto front against brute force and Optuna's own."""

from __future__ import annotations

import io
import itertools
import random

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from batchfront.study.findings.overview.tables import front_table
from batchfront.study.trials.attributes import OBJECTIVES
from batchfront.study.trials.front import non_dominated, pareto_front
from batchfront.study.trials.repeats import medians, repeats_of

SPACE = {"log2_batch_size": optuna.distributions.IntDistribution(0, 9)}


def _trial(values, *, stopped: float = 0.0):
    return create_trial(
        state=TrialState.COMPLETE if values else TrialState.PRUNED,
        values=values,
        params={"log2_batch_size": 3},
        distributions=SPACE,
        constraints={"stopped": stopped},
    )


def _beats(a, b):
    pairs = [(a[0], b[0]), (b[1], a[1]), (b[2], a[2])]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


@pytest.mark.parametrize("seed", range(20))
def test_points_far_apart_are_judged_as_brute_force_does(seed):
    """On a grid coarser than the resolution the front is the strict one."""
    draw = random.Random(seed)
    points = [tuple(float(2 ** draw.randint(0, 4)) for _ in range(3)) for _ in range(40)]
    expected = [not any(_beats(b, a) for b in points) for a in points]
    assert non_dominated(points) == expected


def test_the_front_is_what_optuna_says_where_nothing_ties():
    draw = random.Random(1)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    for _ in range(60):
        values = [draw.random(), 1.1 ** draw.randint(0, 40), 1.1 ** draw.randint(0, 40)]
        study.add_trial(_trial(values, stopped=draw.choice([0, 0, 1])))
    ours = {t.number for t in pareto_front(study.trials)}
    assert ours == {t.number for t in study.best_trials}
    assert 0 < len(ours) < 60


def test_times_within_five_percent_and_memory_within_two_are_ties():
    good = (0.9, 1.0, 1.0)
    assert non_dominated([good, (0.8, 0.96, 0.99)]) == [True, False]
    assert non_dominated([good, (0.8, 0.94, 1.0)]) == [True, True]
    assert non_dominated([good, (0.8, 1.0, 0.97)]) == [True, True]


@pytest.mark.parametrize("seed", range(20))
def test_timing_noise_does_not_grow_the_front(seed):
    """Runs of one batch size differ in nothing but noise of time: the best one stays, alone."""
    draw = random.Random(seed)
    runs = [(draw.random(), 1.0 + 0.02 * draw.random(), 100.0) for _ in range(30)]
    kept = [run for run, keep in zip(runs, non_dominated(runs), strict=True) if keep]
    assert kept == [max(runs)]


@pytest.mark.parametrize("seed", range(20))
def test_every_dropped_point_is_beaten_within_the_resolution_by_one_that_stays(seed):
    draw = random.Random(seed)
    points = [(draw.random(), 1 + draw.random() / 3, 1 + draw.random() / 9) for _ in range(80)]
    kept = non_dominated(points)
    stay = [p for p, keep in zip(points, kept, strict=True) if keep]
    assert stay
    for point, keep in zip(points, kept, strict=True):
        if not keep:
            assert any(
                s[0] >= point[0] and s[1] <= 1.05 * point[1] and s[2] <= 1.02 * point[2]
                for s in stay
            )


def test_stopped_and_infeasible_trials_are_never_on_the_front():
    good, stopped = _trial([0.5, 2.0, 2.0]), _trial(None, stopped=3.0)
    infeasible = _trial([0.9, 1.0, 1.0], stopped=4.5)
    assert pareto_front([good, stopped, infeasible]) == [good]


def test_equal_points_are_both_kept_and_an_empty_front_is_empty():
    assert non_dominated([(1, 1, 1), (1, 1, 1)]) == [True, True]
    assert non_dominated([]) == []
    assert list(itertools.compress([], non_dominated([]))) == []


def test_of_a_repeated_setting_the_median_stands_not_its_luckiest_seed():
    draws = {3: [0.90, 0.97, 0.91, 0.92, 0.93], 5: [0.95, 0.94, 0.945]}
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    for size, metrics in draws.items():
        for metric in metrics:
            study.add_trial(_at(size, [metric, 1.0, 1.0]))
    kept = medians(study.trials, OBJECTIVES)
    assert [trial.values[0] for trial in kept] == [0.92, 0.945]
    front = pareto_front(kept)
    assert [trial.params["log2_batch_size"] for trial in front] == [5]
    assert repeats_of(front, study.trials) == [
        {"n_seeds": 3, "lowest": 0.94, "highest": 0.95, "trials": [5, 6, 7]}
    ]


def test_seeds_that_failed_are_worse_than_any():
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    for values in ([0.9, 1.0, 1.0], None, None):
        study.add_trial(_at(3, values))
    assert medians(study.trials, OBJECTIVES) == []
    study.add_trial(_at(3, [0.8, 1.0, 1.0]))
    study.add_trial(_at(3, [0.95, 1.0, 1.0]))
    assert [trial.values[0] for trial in medians(study.trials, OBJECTIVES)] == [0.8]


def _at(size, values):
    return create_trial(
        state=TrialState.COMPLETE if values else TrialState.PRUNED,
        values=values,
        params={"log2_batch_size": size},
        distributions=SPACE,
        constraints={"stopped": 0.0 if values else 3.0},
        user_attrs={"verdict": "completed" if values else "diverged"},
    )


@pytest.mark.parametrize("width", [60, 75, 76, 80, 100, 200])
def test_no_word_of_its_heading_is_broken_however_narrow_the_terminal(width):
    console = Console(width=width, file=io.StringIO())
    trial = _trial((0.9777, 0.0741, 117 * 1024.0))
    trial.params = {"batch_size": 128, "learning_rate": 0.00351}
    console.print(front_table([trial], OBJECTIVES, width=width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    rule = next(n for n, line in enumerate(lines) if "─" in line)
    head = " ".join(lines[1:rule]).replace("_", " ")  # below the title
    words = set(" ".join(["trial batch size learning rate", *OBJECTIVES]).replace("_", " ").split())
    assert {"size", "rate", "accuracy", "seconds", "bytes"} <= set(head.split()) <= words
