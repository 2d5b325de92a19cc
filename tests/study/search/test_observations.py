"""What the cost-aware sampler takes from trials that completed, failed or were stopped."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from batchfront.study.search.encoding import Encoding
from batchfront.study.search.evidence import Evidence
from batchfront.study.search.observations import CAP
from batchfront.study.trials.attributes import CONSTRAINT, CURVE, FAIL_REASON, HARDWARE

from ..cost_aware import SPACE, cost, limits_of, new_study, stop, tell

EPOCHS = 10


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def is_here(trial):
    return trial.user_attrs.get(HARDWARE, "here") == "here"


def _evidence(study, **changes):
    given = {"encoding": Encoding(SPACE), "costs": limits_of().costs, "is_here": is_here}
    finished = [trial for trial in study.trials if trial.state.is_finished()]
    return Evidence(finished, **{**given, **changes}).observations()


def _all(seen):
    return seen.part(np.arange(len(seen)))


def _at(study, size, rate=0.01):
    study.enqueue_trial({"batch_size": size, "learning_rate": rate})
    return study.ask(SPACE.distributions())


def _curve(level, n=EPOCHS):
    return [level * (1 - math.exp(-e / 2)) for e in range(1, n + 1)]


@pytest.fixture
def study():
    """Six completed runs."""
    made = new_study()
    for level in (0.80, 0.85, 0.90, 0.92, 0.94, 0.96):
        tell(made, _at(made, 16), _curve(level)[-1], **{CURVE: _curve(level)})
    return made


def test_completed_trials_are_evidence_as_told(study):
    seen = _evidence(study)
    assert seen.error == pytest.approx([1 - t.values[0] for t in study.trials])
    assert seen.counts.all()
    assert not _all(seen).noise.any()


@pytest.mark.parametrize("verdict", ["diverged", "stalled", "non_finite"])
def test_a_failure_is_as_bad_as_can_be(study, verdict):
    stop(study, _at(study, 16, 1.0), verdict, metric=0.9, curve=_curve(0.95, 4))
    seen = _evidence(study)
    assert seen.error[-1] == 1.0, "what it had reached before is no evidence"
    assert seen.failed.tolist() == [False] * 6 + [True]
    assert not seen.counts[-1]
    assert _all(seen).log_error[-1] == pytest.approx(_all(seen).log_error.min() + CAP)


def test_a_run_that_was_overtaken_is_evidence_of_where_it_was_going(study):
    trial = _at(study, 16)
    stop(study, trial, "dominated", metric=_curve(0.90, 4)[-1], curve=_curve(0.90, 4))
    seen = _evidence(study)
    assert 1 - seen.error[-1] == pytest.approx(_curve(0.90)[-1], abs=0.03)
    assert _curve(0.90, 4)[-1] < 0.79, "it was far from there"
    assert 0 < _all(seen).noise[-1] < 0.25
    assert not seen.counts[-1]


def test_one_overtaken_before_any_completed_stands_for_itself():
    study = new_study()
    stop(study, _at(study, 16), "pruned", metric=0.4, curve=[0.3, 0.4])
    seen = _evidence(study)
    assert seen.error.tolist() == [pytest.approx(0.6)]
    assert _all(seen).noise[0] > 0.2


def test_trials_that_say_nothing_about_the_error_are_left_out(study):
    stop(study, _at(study, 512), "out_of_memory")
    stop(study, _at(study, 512), "over_budget")
    interrupted = _at(study, 8)
    interrupted.set_user_attr(FAIL_REASON, "interrupted")
    study.tell(interrupted, state=TrialState.FAIL)
    study.ask(SPACE.distributions())  # running
    assert len(_evidence(study)) == 6


def test_other_hardware_is_evidence_of_the_error_but_not_on_the_front(study):
    tell(study, _at(study, 16), 0.97, **{HARDWARE: "there"})
    tell(study, _at(study, 16), 0.98, **{HARDWARE: "here"})
    seen = _evidence(study)
    assert seen.counts[-2:].tolist() == [False, True]
    assert seen.error[-2] == pytest.approx(0.03)


def test_infeasible_trials_are_evidence_but_not_on_the_front(study):
    trial = _at(study, 16)
    trial.set_constraint(CONSTRAINT, 4.2)
    study.tell(trial, [0.5, *cost(16)])
    seen = _evidence(study)
    assert seen.error[-1] == pytest.approx(0.5)
    assert not seen.counts[-1]


def test_a_metric_that_is_no_number_is_no_evidence(study):
    stop(study, _at(study, 16), "pruned", metric=None, curve=[0.4, math.nan])
    assert len(_evidence(study)) == 6
    study.ask(SPACE.distributions())
