"""The default stop rule stops only what can no longer reach the front."""

from __future__ import annotations

import random
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Verdict
from batchfront.study.pruning import bound as bound_module
from batchfront.study.pruning.bound import SPARED_SHARE
from batchfront.study.pruning.by_name import make_stop_rule
from batchfront.study.pruning.curves import Curves
from batchfront.study.pruning.decision import RunSoFar
from batchfront.study.pruning.finished import MIN_CURVES
from batchfront.study.pruning.front import FrontPruner
from batchfront.study.trials.attributes import (
    CONSTRAINT,
    CURVE,
    HARDWARE,
    PREDICTED,
    SO_FAR,
    SPARED,
)
from batchfront.study.trials.outcome import on_grid

from ..curves import EPOCHS, rising

DIRECTIONS = ["maximize", "minimize", "minimize"]
SPACE = {
    "log2_batch_size": optuna.distributions.IntDistribution(0, 10),
    "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1, log=True),
}


def _costs_of(size: int) -> tuple[float, float]:
    """Seconds of a run and bytes: the larger the batch, the quicker and the bigger."""
    return 100 / size, 1000.0 * size


def _add(study, *, size=16, level=0.9, curve=None, grade=0.0, told=None, **attributes) -> int:
    """A finished trial: completed, or stopped where it has no last epoch."""
    study.enqueue_trial({"log2_batch_size": size.bit_length() - 1, "learning_rate": 0.1})
    trial = study.ask(SPACE)
    curve = rising(level) if curve is None else curve
    trial.set_user_attr(CURVE, curve)
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    trial.set_constraint(CONSTRAINT, grade)
    if len(curve) >= EPOCHS:
        study.tell(trial, [told or curve[-1], *_costs_of(size)])
    else:
        trial.set_user_attr(SO_FAR, [curve[-1], *_costs_of(size)])
        study.tell(trial, state=TrialState.PRUNED)
    return trial.number


@pytest.fixture
def study():
    """Fifteen completed runs at batch size 16 that end between .80 and .94."""
    made = optuna.create_study(directions=DIRECTIONS)
    for n in range(15):
        _add(made, level=0.8 + 0.01 * n)
    return made


def _rule(**changes) -> FrontPruner:
    given = {
        "risk": 0.02,
        "seed": 0,
        "hardware": "here",
        "costs": dict,
        "length": Length(amount=EPOCHS),
    }
    return FrontPruner(**{**given, **changes})


def _judge(study, curve, *, size=16, rule=None, **changes):
    """What is said of a running trial; not one that is spared by the coin."""
    rule = rule or _rule()
    trial = study.ask(SPACE)
    while _coin(rule, trial.number) < SPARED_SHARE:
        study.tell(trial, state=TrialState.FAIL)
        trial = study.ask(SPACE)
    seconds, memory = _costs_of(size)
    given = {"batch_size": size, "train_seconds": seconds, "peak_memory_bytes": memory}
    given["share_done"] = len(curve) / EPOCHS
    decision = rule.judge(study, trial, RunSoFar(curve=tuple(curve), **{**given, **changes}))
    study.tell(trial, state=TrialState.FAIL)
    return decision


def _coin(rule, number):
    from batchfront.study.trials.attributes import derive_seed

    return derive_seed(rule._seed, number, purpose="spare") / 2**31


def test_a_run_that_stays_far_below_is_dominated_and_the_reason_says_by_what(study):
    decision = _judge(study, [0.3, 0.31, 0.3, 0.31, 0.3])
    assert decision is not None
    assert decision.verdict is Verdict.DOMINATED
    assert decision.reason.startswith(f"trial 14 reached {study.trials[14].values[0]:.4g} at no ")
    assert "could still reach 0.3" in decision.reason
    assert "after epoch 5" in decision.reason
    assert decision.grade == pytest.approx(study.trials[14].values[0] - 0.35, abs=0.1)


def test_a_higher_risk_expects_less_of_a_run():
    study, draw = optuna.create_study(directions=DIRECTIONS), random.Random(0)
    for n in range(40):
        _add(study, curve=[v + draw.gauss(0, 0.03) for v in rising(0.8 + 0.0035 * n)])

    def shortfall(risk):
        plan = SimpleNamespace(
            pruner="front", pruner_risk=risk, seed=0, hardware="here", length=Length(amount=EPOCHS)
        )
        return _judge(study, [0.3] * 5, rule=make_stop_rule(plan, dict)).shortfall

    assert shortfall(0.001) < shortfall(0.02) < shortfall(0.3)


def test_nothing_is_stopped_after_one_epoch(study):
    assert _judge(study, [0.01]) is None


def test_a_run_as_good_as_the_best_goes_on(study):
    assert _judge(study, rising(0.94, 6)) is None


def test_a_run_that_still_rises_goes_on(study):
    assert _judge(study, [0.1, 0.3, 0.5, 0.7]) is None


@pytest.mark.parametrize("size", [8, 32])
def test_a_run_that_is_smaller_or_quicker_than_all_others_goes_on(study, size):
    assert _judge(study, [0.3] * 5, size=size) is None


def test_a_run_dominated_in_time_and_memory_by_another_size_is_stopped(study):
    seconds, memory = _costs_of(16)
    worse = {"train_seconds": seconds * 1.5, "peak_memory_bytes": memory * 1.5}
    assert _judge(study, [0.3] * 5, size=8, **worse) is not None


def test_an_infeasible_trial_dominates_nothing(study):
    low = optuna.create_study(directions=DIRECTIONS)
    for n in range(15):
        _add(low, level=0.8 + 0.01 * n, grade=4.5)
    assert _judge(low, [0.3] * 5) is None


def test_trials_of_other_hardware_dominate_nothing():
    there = optuna.create_study(directions=DIRECTIONS)
    for n in range(15):
        _add(there, level=0.8 + 0.01 * n, **{HARDWARE: "there"})
    assert _judge(there, [0.3] * 5) is None
    assert _judge(there, [0.3] * 5, rule=_rule(hardware="there")) is not None


def test_nothing_is_stopped_before_enough_curves_are_complete():
    few = optuna.create_study(directions=DIRECTIONS)
    for _ in range(MIN_CURVES - 1):
        _add(few)
    assert _judge(few, [0.3] * 5) is None
    _add(few)
    assert _judge(few, [0.3] * 5) is not None


def test_a_stop_that_saves_next_to_nothing_is_not_made(study):
    for _ in range(8):
        _add(study, size=1, level=0.9)  # sixteen times as long
    assert _judge(study, [0.3] * 5) is None, "half of a run that is a sixth of the mean"
    assert _judge(study, [0.3] * 5, size=1) is not None


def test_trials_that_never_ran_do_not_count_in_the_mean_run(study):
    for _ in range(20):
        trial = study.ask(SPACE)
        trial.set_user_attr(PREDICTED, True)
        trial.set_user_attr(SO_FAR, [None, 1e6, 1.0])
        trial.set_constraint(CONSTRAINT, 5.0)
        study.tell(trial, state=TrialState.PRUNED)
    assert _judge(study, [0.3] * 5) is not None


def test_a_loop_that_reports_often_is_compared_report_by_report():
    """Two hundred reports in ten epochs, each run better than the ones before it."""
    often = optuna.create_study(directions=DIRECTIONS)
    for n in range(15):
        _add(often, curve=on_grid(rising(0.8 + 0.01 * n, 200), EPOCHS), told=0.8 + 0.01 * n)
    curve = rising(0.96, 200)
    for n in range(2, 100):
        assert _judge(often, curve[:n], share_done=n / 200) is None


def test_a_run_whose_cost_is_only_known_so_far_is_stopped_once_that_is_dominated(study):
    seconds, memory = _costs_of(16)
    early = {"train_seconds": seconds / 2, "peak_memory_bytes": memory}
    assert _judge(study, [0.3] * 5, **early) is None
    late = {"train_seconds": seconds * 1.01, "peak_memory_bytes": memory}
    assert _judge(study, [0.3] * 5, **late) is not None


def test_a_share_of_the_stops_is_not_carried_out_but_recorded(study):
    rule, spared, stopped = _rule(), 0, 0
    seconds, memory = _costs_of(16)
    for _ in range(300):
        trial = study.ask(SPACE)
        for n in (4, 5, 6):
            run = RunSoFar(
                batch_size=16,
                curve=(0.3,) * n,
                train_seconds=seconds,
                peak_memory_bytes=memory,
                share_done=n / EPOCHS,
            )
            decision = rule.judge(study, trial, run)
        stopped += decision is not None
        if decision is None:
            spared += 1
            said = trial.user_attrs[SPARED]
            assert said["epoch"] == 4, "the first decision counts"
            assert said["rival"] == 14
            assert said["reach"] < 0.5
        else:
            assert SPARED not in trial.user_attrs
        study.tell(trial, state=TrialState.FAIL)
    assert stopped + spared == 300
    assert spared / 300 == pytest.approx(SPARED_SHARE, abs=0.035)


def test_a_spared_run_stands_for_all_that_were_stopped_like_it(study):
    _add(study, level=0.4, **{SPARED: {"epoch": 3, "reach": 0.5, "rival": 14}})
    completed = [t for t in study.trials if t.state == TrialState.COMPLETE]
    history = Curves({}, completed).history()
    assert history is not None
    assert list(history.weight) == [1.0] * 15 + [1 / SPARED_SHARE]


def test_stopped_runs_and_curves_of_another_length_are_not_learned_from(study):
    _add(study, curve=[0.2, 0.3])
    completed = [t for t in study.trials if t.state == TrialState.COMPLETE]
    long = optuna.create_study(directions=DIRECTIONS)
    trial = long.ask(SPACE)
    trial.set_user_attr(CURVE, rising(0.9, EPOCHS + 3))
    long.tell(trial, [0.9, 1, 1])
    history = Curves({}, [*completed, *long.trials]).history()
    assert history is not None
    assert history.curves.shape == (15, EPOCHS)


def test_a_rule_learns_again_as_the_study_grows(study, monkeypatch):
    learned = []
    made = bound_module.Bound.__init__

    def counting(self, history):
        learned.append(len(history))
        made(self, history)

    monkeypatch.setattr(bound_module.Bound, "__init__", counting)
    rule = _rule()
    for _ in range(3):
        _judge(study, [0.3] * 5, rule=rule)
    assert learned == [15]
    _add(study)
    _judge(study, [0.3] * 5, rule=rule)
    assert learned == [15, 16]
