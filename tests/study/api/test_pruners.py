"""Pruners in a study of several objectives that Optuna runs."""

from __future__ import annotations

import math
import pickle
import random

import optuna
import pytest
from optuna.pruners import (
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
)

import batchfront as bf
from batchfront.study.errors import StudyError

optuna.logging.set_verbosity(optuna.logging.WARNING)
DIRECTIONS = ["maximize", "minimize", "minimize"]
N_EPOCHS = 12


def curve_of(number: int) -> list[float]:
    """Rises to a level of its own; every ninth is NaN somewhere."""
    draw = random.Random(number)
    level = draw.uniform(0.3, 0.95)
    curve = [
        level * (1 - math.exp(-e / 3)) + draw.uniform(-0.02, 0.02) for e in range(1, N_EPOCHS + 1)
    ]
    if number % 9 == 8:
        curve[draw.randrange(N_EPOCHS - 1)] = math.nan
    return curve


def trained(trial, sign: float = 1.0) -> float:
    for step, value in enumerate(curve_of(trial.number)):
        trial.report(sign * value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return sign * value


STOCK = {
    "median": lambda: MedianPruner(n_startup_trials=2, n_warmup_steps=3),
    "halving": lambda: SuccessiveHalvingPruner(min_resource=2, reduction_factor=2),
    "hyperband": lambda: HyperbandPruner(max_resource=N_EPOCHS),
    "patient": lambda: PatientPruner(MedianPruner(), patience=2),
    "threshold": lambda: ThresholdPruner(lower=-0.8, upper=0.8, n_warmup_steps=2),
}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize("place", [0, 1])
def test_a_stock_pruner_decides_as_in_a_study_of_that_value_alone(name, place, tmp_path):
    """The same trials end at the same steps, with the same state."""
    direction, sign = [("maximize", 1.0), ("minimize", -1.0)][place]
    alone = optuna.create_study(study_name="s", direction=direction, pruner=STOCK[name]())
    alone.optimize(lambda trial: trained(trial, sign), n_trials=40)

    def objective(trial):
        value = trained(bf.ReportingTrial(trial), sign)
        return [value, 1.0] if place == 0 else [1.0, value]

    several = optuna.create_study(
        study_name="s",
        directions=["maximize", "minimize"],
        pruner=bf.ProjectedPruner(STOCK[name](), value=place),
    )
    several.optimize(objective, n_trials=40)
    ended = [(t.state, list(t.intermediate_values)) for t in alone.trials]
    assert [(t.state, t.user_attrs["metric_steps"]) for t in several.trials] == ended
    assert {t.state.name for t in several.trials} == {"COMPLETE", "PRUNED"}
    assert not any(t.intermediate_values for t in several.trials), "which break TPE"
    reasons = {t.user_attrs.get("reason") for t in several.trials if t.state.name == "PRUNED"}
    assert all("Pruner stopped it at step" in reason for reason in reasons)


def test_another_process_goes_on_where_one_has_stopped():
    """The pruner travels pickled, and learns what is there from the storage."""
    storage = optuna.storages.InMemoryStorage()
    pruner = bf.ProjectedPruner(STOCK["halving"]())
    kept = []
    for n in (25, 15):
        study = optuna.create_study(
            study_name="s", storage=storage, directions=["maximize", "minimize"], pruner=pruner,
            load_if_exists=True,
        )  # fmt: skip
        study.optimize(lambda trial: (trained(bf.ReportingTrial(trial)), 1.0), n_trials=n)
        pruner = pickle.loads(pickle.dumps(pruner))
        kept = [(t.state.name, len(t.user_attrs["metric_curve"])) for t in study.trials]
    alone = optuna.create_study(direction="maximize", pruner=STOCK["halving"](), study_name="s")
    alone.optimize(trained, n_trials=40)
    assert kept == [(t.state.name, len(t.intermediate_values)) for t in alone.trials]


def _final(size: int, rate: float) -> float:
    """The best rate grows with the size; small sizes are a little better, and slow."""
    off = math.log10(rate) - math.log10(0.01 * math.sqrt(size / 16))
    return 0.95 * math.exp(-(off**2)) - 0.01 * math.log2(size / 16)


def _searched(pruner, *, n_trials: int, taken: list[int], sampler=None) -> optuna.Study:
    def objective(trial):
        trial = bf.ReportingTrial(trial)
        size = trial.suggest_int("batch_size", 16, 512, log=True)
        rate = trial.suggest_float("learning_rate", 1e-4, 3, log=True)
        size = 2 ** round(math.log2(size))
        for epoch in range(N_EPOCHS):
            taken.append(size)
            trial.report(_final(size, rate) * (1 - math.exp(-(epoch + 1) / 3)), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return _final(size, rate), 100 / size, 1000.0 * size

    sampler = sampler or bf.CostAwareSampler(batch_sizes="16:512", learning_rates=(1e-4, 3))
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=n_trials)
    return study


class Sizes(optuna.samplers.RandomSampler):
    """Powers of two alone."""

    def sample_independent(self, study, trial, name, distribution):
        drawn = super().sample_independent(study, trial, name, distribution)
        return 2 ** round(math.log2(drawn)) if name == "batch_size" else drawn


@pytest.mark.parametrize(
    "costs",
    [
        None,
        {size: (100 / size, 1000.0 * size) for size in (16, 32, 64, 128, 256, 512)},
        lambda size: (100 / size, 1000.0 * size),
    ],
    ids=["learned", "table", "probe"],
)
def test_the_front_pruner_stops_what_cannot_be_on_the_front(costs):
    taken = []
    pruner = bf.FrontPruner(n_reports=N_EPOCHS, costs=costs)
    study = _searched(pruner, n_trials=80, taken=taken, sampler=Sizes(seed=1))
    done = [t for t in study.trials if t.state.name == "COMPLETE"]
    stopped = [t for t in study.trials if t.state.name == "PRUNED"]
    assert len(stopped) > 15
    assert len(taken) < 0.8 * 80 * N_EPOCHS
    for trial in stopped:
        size, reached = trial.params["batch_size"], _final(*trial.params.values())
        assert any(
            t.values[0] > reached and t.values[1] <= 100 / size and t.values[2] <= 1000 * size
            for t in done
        ), trial.params
        assert "could still reach" in trial.user_attrs["reason"]


def test_sampler_and_pruner_go_together():
    """What our pruner has stopped is evidence to the sampler."""
    study = _searched(bf.FrontPruner(n_reports=N_EPOCHS), n_trials=30, taken=[])
    assert max(t.values[0] for t in study.best_trials) > 0.93
    assert {t.params["batch_size"] for t in study.best_trials} >= {16, 32, 64, 128, 256, 512}


def test_a_metric_that_is_no_number_stops_the_run():
    study = optuna.create_study(directions=DIRECTIONS, pruner=bf.FrontPruner(n_reports=5))
    trial = bf.ReportingTrial(study.ask())
    trial.suggest_int("batch_size", 16, 512, log=True)
    trial.report(0.5, 0)
    assert not trial.should_prune()
    trial.report(math.nan, 1)
    assert trial.should_prune()
    assert study.trials[0].user_attrs["verdict"] == "non_finite"


def test_in_a_study_of_one_objective_the_trial_is_optunas():
    study = optuna.create_study(direction="maximize", pruner=STOCK["median"]())
    study.optimize(lambda trial: trained(bf.ReportingTrial(trial)), n_trials=20)
    assert {t.state.name for t in study.trials} == {"COMPLETE", "PRUNED"}
    assert all(t.intermediate_values for t in study.trials)


def test_no_pruner_is_no_pruner_and_a_stock_one_is_told_where_it_belongs():
    study = optuna.create_study(directions=DIRECTIONS, pruner=NopPruner())
    trial = bf.ReportingTrial(study.ask())
    trial.report(0.5, 3)
    assert not trial.should_prune()
    with pytest.warns(UserWarning, match="step 3 was reported already"):
        trial.report(0.6, 3)
    assert study.trials[0].user_attrs["metric_curve"] == [0.5]
    study.pruner = MedianPruner()  # what create_study takes where none is named
    with pytest.raises(StudyError, match=r"bf\.ProjectedPruner\(MedianPruner"):
        trial.should_prune()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bf.FrontPruner(n_reports=1000), "n_reports is 1000, wanted 1 to 100"),
        (lambda: bf.FrontPruner(n_reports=5, risk=2), "risk is 2"),
        (lambda: bf.FrontPruner(n_reports=5, costs={64: 3.0}), "wanted seconds and bytes"),
        (lambda: bf.CostAwareSampler(costs={64: (1, math.nan)}), "cost of batch size 64 is"),
        (lambda: bf.ProjectedPruner("median"), "found 'median', wanted a pruner"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(StudyError, match=said):
        make()


@pytest.mark.parametrize(
    ("pruner", "directions", "said"),
    [
        (bf.FrontPruner(n_reports=5), ["maximize"] * 2, "directions maximize, maximize, wanted"),
        (bf.ProjectedPruner(MedianPruner(), value=2), ["maximize"] * 2, "value is 2, and the st"),
    ],
)
def test_a_study_of_other_values_is_refused(pruner, directions, said):
    study = optuna.create_study(directions=directions, pruner=pruner)
    trial = bf.ReportingTrial(study.ask())
    trial.report(0.1, 0)
    with pytest.raises(StudyError, match=said):
        trial.should_prune()
