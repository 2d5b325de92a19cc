"""A script that was written for Optuna; it joins as it is, its own study untouched.

make study TASK=examples/optuna_script.py METRIC=val_accuracy
"""

import resource
import time

import optuna
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

d = load_digits()
X = torch.tensor(d.data, dtype=torch.float32) / 16
Y = torch.tensor(d.target)
ORDER = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
TR, VA = ORDER[:1200], ORDER[1200:]


def objective(trial):
    batch_size = trial.suggest_categorical("batch_size", [16, 24, 32, 48, 64, 96, 128])
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    weight_decay = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, 10))
    opt = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)
    loader = DataLoader(TensorDataset(X[TR], Y[TR]), batch_size, shuffle=True)
    start = time.perf_counter()
    for _ in range(5):
        for x, y in loader:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            if torch.isnan(loss):
                raise optuna.TrialPruned
    seconds = time.perf_counter() - start
    model.eval()
    with torch.inference_mode():
        accuracy = (model(X[VA]).argmax(1) == Y[VA]).float().mean().item()
    return accuracy, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    study = optuna.create_study(
        study_name="mine",
        storage="sqlite:///past.db",
        directions=["maximize", "minimize", "minimize"],
        load_if_exists=True,
    )
    study.optimize(objective, n_trials=12)
    for t in study.best_trials:
        print(t.values, t.params)
