"""Evidence that grows says what evidence gathered at once says, whoever ends when."""

from __future__ import annotations

import random

import numpy as np
import optuna
import pytest

from batchfront.objectives.metric import COMMON
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.evidence import Evidence, Growing
from batchfront.study.search.surface import Surface, usual_shape
from batchfront.study.search.worth import due_at
from batchfront.study.trials.attributes import CURVE, FAIL_REASON, HARDWARE
from batchfront.study.trials.yardstick import TIE, Scale, yardstick_of

from ..cost_aware import SPACE, accuracy_at, limits_of, new_study, stop, tell


def _is_here(trial):
    return trial.user_attrs.get(HARDWARE, "here") == "here"


def _evidence(trials, metric):
    encoding, costs = Encoding(SPACE), limits_of().costs
    return Evidence(trials, encoding=encoding, costs=costs, is_here=_is_here, metric=metric)


def _end(study, trial, draw):
    """One of the ways in which trials end."""
    level = accuracy_at(trial.params)
    curve = [level * (1 - 0.5**n) + draw.gauss(0, 0.01) for n in range(1, 9)]
    match draw.randrange(6):
        case 0:
            stop(study, trial, "diverged", metric=0.1, curve=curve[:2])
        case 1 | 2:
            stopped = curve[: draw.randrange(1, 8)]
            stop(study, trial, draw.choice(["dominated", "pruned"]), curve=stopped)
        case 3:
            trial.set_user_attr(FAIL_REASON, draw.choice(["error", "interrupted"]))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        case _:
            tell(study, trial, curve[-1], **{CURVE: curve, HARDWARE: draw.choice("here there")})


@pytest.mark.parametrize("name", ["val_accuracy", "val_loss"])
def test_what_is_taken_bit_by_bit_is_what_is_taken_at_once(name):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, draw, metric = new_study(), random.Random(0), COMMON[name]
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    grown, running = _evidence([], metric), []
    for _ in range(60):
        running.append(study.ask(SPACE.distributions()))
        if len(running) < 4:
            continue
        ended = running.pop(draw.randrange(len(running)))  # not in the order of numbers
        _end(study, ended, draw)
        grown.add([study.trials[ended.number]])
        finished = [trial for trial in study.trials if trial.state.is_finished()]
        seen, wanted = grown.observations(), _evidence(finished, metric).observations()
        rows = np.arange(len(wanted))
        assert seen.numbers.tolist() == sorted(wanted.numbers.tolist())
        for key in ("x", "failed", "counts", "costs", "share", "metric"):
            np.testing.assert_array_equal(getattr(seen, key), getattr(wanted, key))
        some = draw.sample(rows.tolist(), k=min(len(rows), 5))
        for key in ("x", "log_error", "noise"):
            whole = getattr(wanted.part(rows), key)
            np.testing.assert_allclose(getattr(seen.part(np.array(some)), key), whole[some])
    assert len(seen) > 30


def test_a_yardstick_found_bit_by_bit_is_that_of_all_trials():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, draw, metric = new_study(), random.Random(1), COMMON["val_loss"]
    study.sampler = optuna.samplers.RandomSampler(seed=1)
    scale = Scale(metric)
    for _ in range(30):
        trial = study.ask(SPACE.distributions())
        _end(study, trial, draw)
        scale.add([study.trials[-1]])
        assert scale.yardstick() == yardstick_of(metric, study.trials)
    assert scale.yardstick() != yardstick_of(metric, study.trials[:10])


def test_rows_that_grow_are_all_there():
    rows = Growing(2)
    assert rows.all.shape == (0, 2)
    for n in range(200):
        rows.append([n, -n])
    assert rows.all.tolist() == [[n, -n] for n in range(200)]


def test_the_best_of_many_runs_is_found_among_those_that_did_best(monkeypatch):
    """What the process makes of runs that did worse is hardly better."""
    draw = np.random.default_rng(0)
    told = np.column_stack([draw.integers(0, 3, 3000), draw.uniform(-13, 1, 3000)])
    off = told[:, 1] + 8 - 0.5 * told[:, 0]
    error = 0.02 * np.exp(0.05 * off**2 + 0.1 * draw.standard_normal(3000))
    some = draw.choice(3000, 300, replace=False)
    logs = np.minimum(np.log(error[some] + TIE), -1.0)
    surface = Surface(told[some], logs, np.zeros(300), usual_shape(2))
    candidates = told[:200]
    guess = surface.guess(candidates)
    found = due_at(told, error, surface, guess, candidates, 0.05)
    assert (found > 0).any()
    monkeypatch.setattr("batchfront.study.search.worth.MAX_BEST", 3000)
    wanted = due_at(told, error, surface, guess, candidates, 0.05)
    assert found == pytest.approx(wanted, abs=1e-4 * 0.05)  # of the worst error
