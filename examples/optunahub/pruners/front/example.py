"""Three pruners on the same runs of a model that is only played: what they spend and lose."""

import math
from pathlib import Path

import optuna
import optunahub

REGISTRY = Path(__file__).resolve().parents[2]  # of OptunaHub itself: optunahub.load_module(...)
module = optunahub.load_local_module("pruners/front", registry_root=str(REGISTRY))
N_EPOCHS = 10


def objective(trial: optuna.Trial) -> tuple[float, float, float]:
    trial = module.ReportingTrial(trial)
    size = 2 ** trial.suggest_int("log2_batch_size", 4, 9)
    rate = trial.suggest_float("learning_rate", 1e-4, 3.0, log=True)
    best = 0.01 * math.sqrt(size / 16)  # the best rate grows with the batch size
    reached = 0.95 * math.exp(-(math.log10(rate / best) ** 2)) - 0.01 * math.log2(size / 16)
    for epoch in range(N_EPOCHS):
        accuracy = reached * (1 - math.exp(-(epoch + 1) / 3))
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy, 100 / size, 1e6 * size


PRUNERS = {
    "none": optuna.pruners.NopPruner(),
    "front": module.FrontPruner(n_reports=N_EPOCHS),
    "median": module.ProjectedPruner(optuna.pruners.MedianPruner()),
}

if __name__ == "__main__":
    for name, pruner in PRUNERS.items():
        study = optuna.create_study(
            directions=["maximize", "minimize", "minimize"],
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=pruner,
        )
        study.optimize(objective, n_trials=60)
        n_epochs = sum(len(t.user_attrs["metric_curve"]) for t in study.trials)
        best = max(t.values[0] for t in study.best_trials)
        print(f"{name}: {n_epochs} epochs, {len(study.best_trials)} on the front, best {best:.3f}")
