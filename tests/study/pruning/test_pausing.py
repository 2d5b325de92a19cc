"""Which runs are paused and which go on, and that each is seen once by whatever learns from it."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.trial import TrialState

from batchfront.objectives.curves.table import read_table
from batchfront.objectives.length import Length
from batchfront.study.pruning.front import FrontPruner
from batchfront.study.pruning.metric_view import MetricView
from batchfront.study.pruning.pausing import PausingPruner, to_go_on
from batchfront.study.search.placed import PlacedSampler
from batchfront.study.search.samplers import projected
from batchfront.study.trials.attributes import CONSTRAINT, CURVE, DEATHS, OWNER, PAUSED, SO_FAR
from batchfront.study.trials.followed import Followed
from batchfront.study.trials.paused import is_paused, is_thaw
from batchfront.study.trials.sound import SoundTrials
from batchfront.study.workers.retry import lost_runs, queue_again, thaw
from batchfront.study.workers.so_far import SoFar
from benchmarks.playback import play, random_design

from ..conftest import ROOT
from ..cost_aware import cost, limits_of
from ..curves import EPOCHS, rising

SPACE = {
    "batch_size": optuna.distributions.IntDistribution(1, 1024, log=True),
    "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1, log=True),
}
COST = (1.0, 1000.0)  # seconds and bytes of every run
AFTER = 4  # epochs of a paused run


def _add(study, curve, *, pauses=False, trained=None) -> int:
    """A finished trial: completed, or stopped where it has no last epoch."""
    study.enqueue_trial({"batch_size": 16, "learning_rate": 0.1})
    trial = study.ask(SPACE)
    if trained is not None:
        trial.set_user_attr("measured_seconds", trained)
    _end(study, trial, curve, pauses=pauses)
    return trial.number


def _end(study, trial, curve, *, pauses=False):
    trial.set_user_attr(CURVE, curve)
    trial.set_user_attr("verdict", "completed" if len(curve) == EPOCHS else "dominated")
    trial.set_constraint(CONSTRAINT, 0.0 if len(curve) == EPOCHS else 0.1)
    if pauses:
        trial.set_user_attr(PAUSED, len(curve))
    if len(curve) == EPOCHS:
        study.tell(trial, [curve[-1], *COST])
    else:
        trial.set_user_attr(SO_FAR, [curve[-1], *COST])
        study.tell(trial, state=TrialState.PRUNED)


def _made():
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    for n in range(15):
        _add(study, rising(0.8 + 0.01 * n))
    return study


@pytest.fixture
def study():
    """Fifteen completed runs that end between .80 and .94."""
    return _made()


@pytest.fixture
def gone_on():
    """The same with a paused run, 15, that has gone on as 16."""
    study = _made()
    _add(study, rising(0.95, AFTER), pauses=True)
    thaw(study, study.trials[15])
    _end(study, study.ask(SPACE), rising(0.95))
    assert is_thaw(study.trials[16])
    return study


def _rule(*, risk=0.05, make=PausingPruner, hardware="here"):
    return make(risk=risk, seed=0, hardware=hardware, costs=dict, length=Length(amount=EPOCHS))


def test_the_most_promising_run_goes_on_first_and_the_hopeless_stay(study):
    levels = {0.93: None, 0.2: None, 0.97: None, 0.5: None}
    numbers = {level: _add(study, rising(level, AFTER), pauses=True) for level in levels}
    rule = _rule()
    order = [hope.number for hope in rule.hopes(study)]
    assert order[:2] == [numbers[0.97], numbers[0.93]]
    due = [trial.number for trial in to_go_on(rule, study, study.trials)]
    assert numbers[0.97] in due
    assert not {numbers[0.2], numbers[0.5]} & set(due)


def test_less_risk_leaves_fewer_runs_behind(study):
    for level in (0.6, 0.7, 0.8, 0.85, 0.9):
        _add(study, rising(level, AFTER), pauses=True)
    n_due = [len(to_go_on(_rule(risk=r), study, study.trials)) for r in (1e-6, 0.05, 0.5)]
    assert n_due == sorted(n_due, reverse=True)
    assert n_due[0] > n_due[-1]


def test_a_budget_affords_the_rest_of_a_run_whose_whole_is_too_dear(study):
    whole = cost(16)[0]
    _add(study, rising(0.97, AFTER), pauses=True, trained=0.4 * whole)
    for left, n_due in ((None, 1), (0.61 * whole, 1), (0.59 * whole, 0)):
        limits = limits_of((16,), affordable_seconds=left)
        found = to_go_on(_rule(), study, study.trials, limits=limits, is_kept=lambda trial: True)
        assert len(found) == n_due


def test_a_run_of_which_nothing_is_kept_has_to_be_afforded_as_a_whole(study):
    whole = cost(16)[0]
    _add(study, rising(0.97, AFTER), pauses=True, trained=0.4 * whole)
    for left, n_due in ((1.01 * whole, 1), (0.99 * whole, 0)):
        limits = limits_of((16,), affordable_seconds=left)
        assert len(to_go_on(_rule(), study, study.trials, limits=limits)) == n_due


def test_runs_go_on_where_they_were_trained_and_under_the_pruner_that_paused_them(study):
    _add(study, rising(0.97, AFTER), pauses=True)
    assert to_go_on(_rule(), study, study.trials)
    study.set_user_attr("batchfront_hardware:there", {})
    assert not to_go_on(_rule(hardware="here"), study, study.trials)
    assert not to_go_on(_rule(hardware="there", make=FrontPruner), study, study.trials)


def test_at_the_end_of_a_study_no_paused_run_within_the_risk_is_left():
    """Played from a recorded table: paused early, gone on with at the end."""
    table = read_table(ROOT / "benchmarks" / "tables" / "digits_cnn_sgd.csv.gz")
    studies = []

    class Seen(PausingPruner):
        def hopes(self, study):
            studies.append(study)
            return super().hopes(study)

    length = Length(amount=table.epochs)
    rule = Seen(risk=0.05, seed=0, hardware="", costs=dict, length=length)
    design = random_design(table, n_trials=50, seed=0)
    played = play(table, design, rule, guarded=True)
    trials = studies[-1].trials
    assert sum(map(is_paused, trials)) >= 5
    assert sum(map(is_thaw, trials)) >= 1
    assert len(played) == len(SoundTrials().of(studies[-1])) == 50
    assert all(math.exp(hope.promise) < 0.05 for hope in rule.hopes(studies[-1]))


def test_a_run_that_went_on_is_seen_once_by_whoever_reads_trials(gone_on):
    assert [t.number for t in SoundTrials().of(gone_on)] == [*range(15), 16]
    assert [t.number for t in Followed().look(gone_on).finished] == [*range(15), 16]


def test_whoever_followed_a_study_is_told_which_paused_runs_have_gone_on(study):
    followed = Followed()
    paused = _add(study, rising(0.95, AFTER), pauses=True)
    assert [t.number for t in followed.look(study).finished] == [*range(15), paused]
    thaw(study, study.trials[paused])
    look = followed.look(study)
    assert (look.superseded, look.finished) == ({paused}, [])
    again = study.ask(SPACE)
    _end(study, again, rising(0.95, AFTER + 2), pauses=True)
    look = followed.look(study)
    assert (look.superseded, [t.number for t in look.finished]) == (set(), [again.number])


@pytest.mark.parametrize("reads", [lambda s: SoundTrials().of(s), lambda s: _so_far(s).chain])
def test_a_run_that_lost_its_worker_was_paused_and_went_on_is_not_lost_again(study, reads):
    lost = study.ask(SPACE)
    lost.set_user_attr(OWNER, {"pid": 1})
    study.tell(lost, state=TrialState.FAIL)
    queue_again(study, study.trials[lost.number], n_deaths=1)
    again = study.ask(SPACE)
    _end(study, again, rising(0.95, AFTER), pauses=True)
    assert lost_runs(reads(study)) == []
    thaw(study, study.trials[again.number])
    assert lost_runs(reads(study)) == []  # whoever looks for the first time now
    assert study.trials[-1].user_attrs[DEATHS] == 1


def _so_far(study):
    found = SoFar("here")
    found.follow(study)
    return found


def test_samplers_of_optunas_see_a_run_that_went_on_once(gone_on):
    view = PlacedSampler(optuna.samplers.RandomSampler(), [8, 16, 32])._view(gone_on)
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    assert [t.number for t in view.get_trials(states=states)] == [*range(15), 16]
    assert [t.number for t in view.get_trials()] == list(range(17))
    assert projected(gone_on).trials[15].state == TrialState.FAIL


def test_optunas_pruners_see_a_run_that_went_on_once(study):
    view = MetricView(study.study_name)
    paused = _add(study, rising(0.95, AFTER), pauses=True)
    view.follow(study)
    thaw(study, study.trials[paused])
    _end(study, study.ask(SPACE), rising(0.95))
    view.follow(study)
    seen = view._study.trials
    assert seen[paused].state == TrialState.FAIL
    assert seen[paused + 1].state == TrialState.COMPLETE
