"""The sampler in a study that Optuna runs."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna._hypervolume import compute_hypervolume

import batchfront as bf
from batchfront.study.errors import StudyError

SIZES = [16, 32, 64, 128, 256, 512]
optuna.logging.set_verbosity(optuna.logging.WARNING)


def seconds_of(size: int) -> float:
    return 100 / size


def objective(trial):
    """The best rate grows with the size; small sizes are a little better, and slow."""
    size = trial.suggest_int("batch_size", 16, 512, log=True)
    rate = trial.suggest_float("learning_rate", 1e-4, 3, log=True)
    trial.suggest_float("dropout", 0, 0.5)
    off = math.log10(rate) - math.log10(0.01 * math.sqrt(size / 16))
    accuracy = 0.95 * math.exp(-(off**2)) - 0.01 * math.log2(size / 16)
    return accuracy, seconds_of(size), 1000.0 * size


def _ran(sampler, n_seconds: float) -> optuna.Study:
    """As many trials as so many seconds of training allow."""
    study = optuna.create_study(
        directions=["maximize", "minimize", "minimize"], sampler=sampler, study_name="mine"
    )
    spent = 0.0
    while spent < n_seconds:
        study.optimize(objective, n_trials=1)
        spent += study.trials[-1].values[1]
    return study


def _volume(study: optuna.Study) -> float:
    import numpy as np

    worst = np.array([0.0, math.log(10), math.log(1e6)])
    rows = [[-t.values[0], math.log(t.values[1]), math.log(t.values[2])] for t in study.trials]
    return float(compute_hypervolume(np.minimum(rows, worst), worst))


@pytest.mark.parametrize("known", [True, False])
def test_for_the_same_seconds_it_finds_more_than_chance(known):
    costs = {size: (seconds_of(size), 1000.0 * size) for size in SIZES} if known else None
    ours, chance = [], []
    for seed in range(3):
        sampler = bf.CostAwareSampler(
            batch_sizes="16:512", learning_rates=(1e-4, 3), costs=costs, seed=seed
        )
        study = _ran(sampler, 10)
        assert {t.params["batch_size"] for t in study.trials} <= set(SIZES)
        ours.append(_volume(study))
        chance.append(_volume(_ran(optuna.samplers.RandomSampler(seed=seed), 10)))
    assert min(ours) > 1.2 * max(chance)


def test_what_it_draws_follows_from_seed_and_study():
    def drawn():
        sampler = bf.CostAwareSampler(batch_sizes=SIZES, learning_rates=(1e-4, 3), seed=5)
        return [t.params for t in _ran(sampler, 12).trials]

    assert drawn() == drawn()


@pytest.mark.parametrize(
    ("directions", "said"),
    [
        (["maximize"], "directions maximize, wanted those of a metric, of seconds and of bytes"),
        (["maximize", "maximize", "minimize"], "directions maximize, maximize, minimize"),
        (["minimize"] * 3, "call study.set_metric_names"),
    ],
)
def test_a_study_of_other_values_is_refused(directions, said):
    sampler = bf.CostAwareSampler(batch_sizes=SIZES)
    study = optuna.create_study(directions=directions, sampler=sampler)
    with pytest.raises(StudyError, match=said):
        study.ask().suggest_float("learning_rate", 1e-4, 3, log=True)


def test_the_page_shows_it():
    """The blocks of docs/optuna.md, with functions of their own in place of the training."""
    import re
    from pathlib import Path

    page = Path(__file__).resolve().parents[3] / "docs" / "optuna.md"
    study, costs = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    namespace = {"train_an_epoch": lambda size, rate: (0.5, 1 / size, size)}
    exec(study, namespace)
    assert len(namespace["study"].trials) == 40

    class Study:
        def __init__(self, task):
            self.costs = lambda: {16: (1.0, 2.0)}

    exec(
        costs.replace("bf.Study", "Study"), {"bf": bf, "Study": Study, "my_probe": lambda b: (1, b)}
    )
