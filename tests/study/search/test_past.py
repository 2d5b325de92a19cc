"""Earlier studies as evidence: held against the whole process, and against runs that disagree."""

from __future__ import annotations

import json
import math

import numpy as np
import optuna
import pytest

from batchfront.objectives.metric import ACCURACY, Metric
from batchfront.objectives.parameter import Parameter
from batchfront.study.plan.past import PastRuns
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.cost_aware import CostAwareSampler
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.evidence import Evidence
from batchfront.study.search.observations import Part
from batchfront.study.search.past import AGREEMENTS, LEVEL, MOST_RUNS, Past, believed, past_runs
from batchfront.study.search.surface import JITTER
from batchfront.study.trials.attributes import VERDICT

from ..cost_aware import limits_of

SIZES = (16, 32, 64, 128, 256)
SPACE = SearchSpace(batch_sizes=SIZES, learning_rates=(1e-4, 10.0))
ANY = SearchSpace(batch_sizes=(1, 4096), learning_rates=(1e-9, 1e9)).distributions()


def error_of(size: int, rate: float) -> float:
    """The best rate grows with the size."""
    off = math.log10(rate) - math.log10(0.02 * math.sqrt(size / 16))
    return min(1.0, 0.04 + 0.2 * off**2 + 0.004 * math.log2(size / 16))


def trial_of(size: int, rate: float, error: float, *, failed: bool = False, **own):
    params = {"batch_size": size, "learning_rate": rate, **own}
    more = {name: optuna.distributions.FloatDistribution(-1e9, 1e9) for name in own}
    state = optuna.trial.TrialState.PRUNED if failed else optuna.trial.TrialState.COMPLETE
    return optuna.trial.create_trial(
        state=state, params=params, distributions={**ANY, **more},
        values=None if failed else [1 - error, 100 / size, 1000.0 * size],
        user_attrs={VERDICT: "diverged" if failed else "completed"},
    )  # fmt: skip


def trials_of(n: int, *, seed: int = 0, shown=lambda error: error):
    draw = np.random.default_rng(seed)
    found = []
    for number in range(n):
        size, rate = int(draw.choice(SIZES)), 10 ** draw.uniform(-4, 1)
        noise = math.exp(0.05 * draw.standard_normal())
        found.append(trial_of(size, rate, min(1.0, shown(error_of(size, rate)) * noise)))
        found[-1].number = number
    return found


def kept(trials, *, space: SearchSpace = SPACE, metric: Metric = ACCURACY) -> PastRuns | None:
    return past_runs("earlier", trials, space=space, metric=metric)


def part_of(trials, past: Past) -> Part:
    evidence = Evidence(
        trials, encoding=Encoding(SPACE), costs={}, is_here=lambda t: True, metric=ACCURACY
    )
    seen = evidence.observations()
    return seen.part(np.arange(len(seen)), best=past.best)


def test_what_is_kept_is_stored_and_read_again():
    found = kept(trials_of(40))
    again = PastRuns.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again.source == "earlier"
    assert len(again.runs) == 40
    for ours, theirs in zip(again.runs, found.runs, strict=True):
        assert ours.params == theirs.params
        assert ours.log_error == pytest.approx(theirs.log_error, abs=1e-4)
    assert again.theta == pytest.approx(found.theta)


@pytest.mark.slow
def test_of_many_runs_the_best_are_kept_and_some_of_the_others():
    trials = trials_of(3 * MOST_RUNS)
    found = kept(trials)
    errors = sorted(1 - t.values[0] for t in trials)
    assert len(found.runs) == MOST_RUNS
    assert min(r.log_error for r in found.runs) == pytest.approx(math.log(errors[0] + 0.005))
    assert sum(r.log_error > math.log(errors[300]) for r in found.runs) > 40


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_the_surface_is_that_of_one_process_of_two_studies(agreement):
    """Held against the whole covariance of all runs, inverted at once."""
    past = Past(kept(trials_of(25)), Encoding(SPACE))
    own = part_of(trials_of(7, seed=1), past)
    where = Encoding(SPACE).candidates(SIZES, past.x, np.random.default_rng(0))[::9]
    guess = past.surface(own.x, own.log_error, own.noise, agreement).guess(where)

    def covariance(a, b, *, both_ours: bool):
        return past.covariance(a, b) + (LEVEL if both_ours else 0)

    across = agreement * past.covariance(past.x, own.x)
    seeds = past.shape.white + JITTER
    noise = np.append([run.noise + seeds for run in past.kept.runs], own.noise + seeds)
    whole = np.block(
        [
            [past.covariance(past.x, past.x), across],
            [across.T, covariance(own.x, own.x, both_ours=True)],
        ]
    ) + np.diag(noise)
    told = np.append([run.log_error for run in past.kept.runs], own.log_error) - past.mean
    to = np.vstack(
        [agreement * past.covariance(past.x, where), covariance(own.x, where, both_ours=True)]
    )
    mean = past.mean + to.T @ np.linalg.solve(whole, told)
    variance = past.variance + LEVEL - (to * np.linalg.solve(whole, to)).sum(axis=0)
    assert guess.mean == pytest.approx(mean, abs=1e-6)
    assert guess.deviation == pytest.approx(np.sqrt(variance), abs=1e-6)


def test_a_study_that_agrees_is_believed_and_its_opposite_is_not():
    for shown, is_believed in ((lambda e: e, True), (lambda e: 1.04 - e, False)):
        past = Past(kept(trials_of(40, shown=shown)), Encoding(SPACE))
        found = believed([past], lambda one: part_of(trials_of(6, seed=2), one))
        assert (found is not None) == is_believed
    both = [Past(kept(trials_of(40, shown=s)), Encoding(SPACE)) for s in (lambda e: 1.04 - e, abs)]
    _, past, agreement = believed(both, lambda one: part_of(trials_of(6, seed=2), one))
    assert past is both[1]
    assert agreement >= 0.9


def _offs(past, *, n: int) -> list[float]:
    """How many times the best rate of their size the first trials have."""
    sampler = CostAwareSampler(
        space=SPACE, seed=0, hardware="", past=past, limits=lambda study: limits_of(SIZES)
    )
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
    offs = []
    for _ in range(n):
        trial = study.ask(SPACE.distributions())
        size, rate = trial.params["batch_size"], trial.params["learning_rate"]
        offs.append(rate / (0.02 * math.sqrt(size / 16)))
        study.tell(trial, [1 - error_of(size, rate), 100 / size, 1000.0 * size])
    return offs


def test_once_it_has_proven_to_agree_its_best_rates_are_tried_at_once():
    past = kept([*trials_of(40), trial_of(64, 10.0, 1, failed=True)])
    cold, warm = _offs([], n=6), _offs([past], n=6)
    assert warm[0] == cold[0], "the first is one of the cheap start"
    assert all(1 / 6 < off < 6 for off in warm[1:])
    assert sum(1 / 6 < off < 6 for off in cold) <= 3


def test_an_earlier_study_that_is_refuted_by_the_first_trial_changes_nothing():
    opposite = kept(trials_of(40, shown=lambda error: 1.04 - error))
    assert _offs([opposite], n=9)[3:6] == _offs([], n=9)[3:6]


def test_parameters_that_the_earlier_study_did_not_have_are_as_they_were_probed():
    space = SearchSpace(
        batch_sizes=SIZES,
        search={
            "momentum": Parameter(low=0.0, high=0.9),
            "kind": Parameter(choices=("adam", "sgd")),
        },
    )
    trials = [*trials_of(9), trial_of(32, 0.1, 0.2, momentum=7.0)]
    trials[-1].number = 9
    trials[-1].set_user_attr("kind", "sgd")  # of an import
    *rest, last = kept(trials, space=space).runs
    usual = {name: parameter.probed for name, parameter in space.search.items()}
    assert all(run.params == run.params | usual for run in rest)
    assert last.params["momentum"] == 0.9
    assert last.params["kind"] == "sgd"


def test_rates_that_a_rule_scales_are_compared_as_they_train():
    space = SearchSpace(batch_sizes=SIZES).from_dict(
        {**SPACE.as_dict(), "scale": {"rule": "linear", "reference": 64}}
    )
    found = kept([trial_of(128, 0.2, 0.1)], space=space)
    assert found.runs[0].params == {"batch_size": 128, "learning_rate": pytest.approx(0.1)}


def test_runs_that_all_failed_tell_nothing():
    assert kept([]) is None
    assert kept([trial_of(32, 1.0, 1, failed=True)]) is None
