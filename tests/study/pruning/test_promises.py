"""What decides of a run that can go on: its chance, and the time that it would still take."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from batchfront.objectives.length import Length
from batchfront.study.pruning.decision import RunSoFar
from batchfront.study.pruning.front import MAX_RISK_SHARE
from batchfront.study.pruning.pausing import BOLD, PausingPruner
from batchfront.study.trials.attributes import CURVE, THAW

from ..curves import EPOCHS, rising

SPACE = {
    "batch_size": optuna.distributions.IntDistribution(1, 1024, log=True),
    "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1, log=True),
}
SECONDS = 1.0  # of every run
AFTER = 4  # epochs


@pytest.fixture
def study():
    """Thirty runs that end between .80 and .94, each with noise of its own."""
    made = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    draw = np.random.default_rng(0)
    for n in range(30):
        noise = draw.normal(0, 0.01, EPOCHS)
        _complete(made, list(np.array(rising(0.8 + 0.005 * n)) + noise))
    return made


def _complete(study, curve):
    study.enqueue_trial({"batch_size": 16, "learning_rate": 0.1})
    trial = study.ask(SPACE)
    trial.set_user_attr(CURVE, curve)
    study.tell(trial, [curve[-1], SECONDS, 1000.0])


def _rule(risk):
    return PausingPruner(
        risk=risk, seed=0, hardware="here", costs=dict, length=Length(amount=EPOCHS)
    )


def _decision(study, curve, *, risk, seconds=SECONDS, goes_on=None, **more):
    study.enqueue_trial({"batch_size": 16, "learning_rate": 0.1})
    trial = study.ask(SPACE)
    if goes_on is not None:
        trial.set_user_attr(THAW, goes_on)
    given = {"share_done": len(curve) / EPOCHS, "is_kept": True, **more}
    run = RunSoFar(
        batch_size=16, curve=tuple(curve), train_seconds=seconds, peak_memory_bytes=2000.0, **given
    )
    found = _rule(risk).judge(study, trial, run)
    study.tell(trial, state=TrialState.FAIL)
    return found


def _chance(study, curve):
    """What the pruner thinks of a run, as it says it."""
    reason = _decision(study, curve, risk=0.9999, seconds=100 * SECONDS, goes_on=0).reason
    return float(reason.partition("probability of ")[2].partition(",")[0])


@pytest.fixture
def doubtful():
    """A run that may still reach the best, and probably does not."""
    return rising(0.9, AFTER)


def test_a_run_is_paused_below_five_times_the_risk_and_left_below_the_risk(study, doubtful):
    chance = _chance(study, doubtful)
    assert 0.001 < chance < 0.4
    left = (1 - AFTER / EPOCHS) * 1.0  # mean runs
    for goes_on, factor in ((None, BOLD), (0, 1.0)):
        promise = chance / left / factor
        more = {"goes_on": goes_on}
        assert _decision(study, doubtful, risk=0.8 * promise, **more) is None
        assert _decision(study, doubtful, risk=1.25 * promise, **more).pauses


def test_of_two_runs_of_the_same_chance_the_dear_one_is_paused(study, doubtful):
    risk = 1.5 * _chance(study, doubtful) / BOLD
    assert _decision(study, doubtful, risk=risk) is None
    assert _decision(study, doubtful, risk=risk, seconds=3 * SECONDS).pauses


def test_no_run_is_paused_for_its_price_alone(study, doubtful):
    """However dear: a chance above so many times the risk goes on."""
    risk = _chance(study, doubtful) / BOLD / MAX_RISK_SHARE / 1.1
    assert _decision(study, doubtful, risk=risk, seconds=1000 * SECONDS) is None


def test_what_is_left_of_a_run_of_unknown_length_is_told_by_its_pace(study, doubtful):
    """A tenth is done: nine times its seconds are left, or nine tenths where all are known."""
    risk = _chance(study, doubtful) / BOLD / 1.5
    spent = {"seconds": 1.2 * SECONDS, "share_done": 0.1}
    assert _decision(study, doubtful, risk=risk, **spent, is_whole_cost=False).pauses
    assert _decision(study, doubtful, risk=risk, **spent) is None


def test_a_run_that_has_to_start_over_is_not_judged_before_it_is_where_it_was(study):
    hopeless = rising(0.2, AFTER)
    assert _decision(study, hopeless, risk=0.05, goes_on=AFTER - 1).pauses
    assert _decision(study, hopeless, risk=0.05, goes_on=AFTER) is None


def test_a_curve_with_a_gap_pauses_nothing_and_leaves_nothing_behind(study, doubtful):
    before = _chance(study, doubtful)
    curve = rising(0.85)
    curve[2] = math.nan
    _complete(study, curve)
    assert _chance(study, doubtful) == pytest.approx(before)
    own = [*doubtful[:-1], math.nan]
    assert _decision(study, own, risk=0.05) is None


def test_the_reason_says_the_chance_and_what_is_left_to_train(study, doubtful):
    reason = _decision(study, doubtful, risk=0.5, seconds=3 * SECONDS).reason
    assert "at no more time and memory; after epoch 4 this run reaches that with" in reason
    assert reason.endswith("and 1.8 mean runs are left to train")
