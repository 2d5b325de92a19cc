"""Searches batch size and learning rate of a model that is only played here."""

import math
from pathlib import Path

import optuna
import optunahub

REGISTRY = Path(__file__).resolve().parents[2]  # of OptunaHub itself: optunahub.load_module(...)
module = optunahub.load_local_module("samplers/cost_aware", registry_root=str(REGISTRY))


def objective(trial: optuna.Trial) -> tuple[float, float, float]:
    size = trial.suggest_int("batch_size", 16, 512, log=True)
    rate = trial.suggest_float("learning_rate", 1e-4, 3.0, log=True)
    best = 0.01 * math.sqrt(size / 16)  # the best rate grows with the batch size
    accuracy = 0.95 * math.exp(-(math.log10(rate / best) ** 2))
    return accuracy, 100 / size, 1e6 * size


if __name__ == "__main__":
    study = optuna.create_study(
        directions=["maximize", "minimize", "minimize"],
        sampler=module.CostAwareSampler(batch_sizes="16:512", learning_rates=(1e-4, 3.0)),
    )
    study.optimize(objective, n_trials=20)
    for trial in study.best_trials:
        print(trial.params, trial.values)
