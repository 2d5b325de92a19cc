"""What is kept of finished runs says what going through all of them says."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from batchfront.study.pruning.decision import RunSoFar
from batchfront.study.pruning.known_runs import KnownRuns
from batchfront.study.trials.attributes import CONSTRAINT, CURVE, SO_FAR, is_feasible
from batchfront.study.trials.costs import Costs, SizeCost
from batchfront.study.trials.hardware import at_known_cost

SPACE = {
    "log2_batch_size": IntDistribution(0, 5),
    "learning_rate": FloatDistribution(1e-4, 1.0, log=True),
}


def _costs(scale: float) -> Costs:
    return {
        2**log2: SizeCost(
            batch_size=2**log2, step_seconds=scale / 2**log2, peak_memory_bytes=100 + 2**log2,
            total_steps=10, predicted_peak_memory_bytes=None,
        )
        for log2 in range(4)  # the others are not known
    }  # fmt: skip


def _trial(number: int, draw: random.Random) -> FrozenTrial:
    completed = draw.random() < 0.6
    values = [draw.randrange(20) / 20, draw.random(), float(draw.randrange(200))]
    trial = create_trial(
        state=TrialState.COMPLETE if completed else TrialState.PRUNED,
        values=values if completed else None,
        params={"log2_batch_size": draw.randrange(6), "learning_rate": 0.1},
        distributions=SPACE,
        user_attrs={
            "steps": 10,
            "total_steps": 10,
            CURVE: [0.1] * draw.randrange(3),
            **({} if completed else {SO_FAR: [0.1, draw.choice([None, 2.0]), 3.0]}),
        },
        constraints={CONSTRAINT: draw.choice([0.0, 0.0, 1.0])},
    )
    trial.number = number
    return trial


def _run(draw: random.Random) -> RunSoFar:
    return RunSoFar(
        batch_size=1, curve=(draw.random() * 0.9,), train_seconds=draw.random(),
        peak_memory_bytes=draw.randrange(250), share_done=0.1,
    )  # fmt: skip


def test_rivals_and_means_are_those_of_going_through_all_trials():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    draw = random.Random(1)
    trials = [_trial(number, draw) for number in range(120)]
    costs = _costs(0.05)
    known, n_rivals = KnownRuns(costs), 0
    for first in range(0, 120, 7):
        known.add(trials[first : first + 7])
        there = [at_known_cost(trial, costs) for trial in trials[: first + 7]]
        for run in (_run(draw) for _ in range(20)):
            rivals = [
                t for t in there
                if is_feasible(t) and t.values[0] > run.reached
                and t.values[1] <= run.train_seconds and t.values[2] <= run.peak_memory_bytes
            ]  # fmt: skip
            wanted = max(rivals, key=lambda t: t.values[0], default=None)
            found = known.strongest_rival(run)
            n_rivals += found is not None
            assert (found and found.number) == (wanted and wanted.number)
        seconds = [
            t.values[1] if t.values else t.user_attrs[SO_FAR][1] for t in there
        ]  # fmt: skip
        timed = [value for value in seconds if value is not None]
        assert known.mean_seconds == pytest.approx(sum(timed) / len(timed))
        with_curve = [t.number for t in there if t.values and t.user_attrs[CURVE]]
        assert known.n_completed == len(with_curve)
    assert n_rivals > 50


def test_sizes_that_are_probed_again_change_what_is_known():
    draw = random.Random(2)
    trials = [_trial(number, draw) for number in range(40)]
    known = KnownRuns(_costs(0.05), trials)
    again = KnownRuns(_costs(5.0), known.trials)
    assert again.mean_seconds > known.mean_seconds
    assert again.n_completed == known.n_completed


def test_nothing_is_known_of_no_runs():
    known = KnownRuns({})
    assert known.strongest_rival(_run(random.Random(0))) is None
    assert known.mean_seconds == 0.0
