"""Bring your own training loop: a function `objective(params, run)`.

    make study TASK=examples/own_loop.py BATCH_SIZES=4:128

Whatever trains your model, it tells `run` three things: the budget, each step's loss, and each
epoch's validation accuracy. `run` may raise `Stopped`; let it pass. What it saves after an epoch
another worker goes on from, should this one die.
"""

from __future__ import annotations

import math

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from batchfront import Run, TrialParams

# Loaded once, here: what the objective itself allocates counts as memory of training.
BUNDLE = load_breast_cancer()
X = torch.tensor(BUNDLE.data, dtype=torch.float32)  # (569, 30)
X = (X - X.mean(dim=0)) / X.std(dim=0)
ALL = TensorDataset(X, torch.tensor(BUNDLE.target, dtype=torch.int64))
TRAIN, VAL, TEST = random_split(ALL, [341, 114, 114], torch.Generator().manual_seed(0))


def objective(params: TrialParams, run: Run) -> None:
    """Train once; torch, NumPy and Python are seeded with params.seed before the call."""
    model = nn.Sequential(nn.Linear(30, 16), nn.Tanh(), nn.Linear(16, 2)).to(params.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=params.learning_rate, momentum=0.9)
    loader = DataLoader(TRAIN, batch_size=params.batch_size, shuffle=True)
    first = 0
    if run.restored is not None:  # what another process saved last
        first = run.restored["epoch"]
        model.load_state_dict(run.restored["model"])
        optimizer.load_state_dict(run.restored["optimizer"])

    # Two classes of 37% and 63%: what always answering "benign" reaches.
    run.begin(params.epochs * len(loader), baseline_loss=0.66, baseline_metric=0.63)
    for epoch in range(first, params.epochs):
        model.train()
        for x, y in loader:  # (B, 30), (B,)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x.to(params.device)), y.to(params.device))
            loss.backward()
            optimizer.step()
            run.step(loss)
        with run.validating():  # the clock stands still
            accuracy = evaluate(model, params.device)
        run.report(accuracy)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        run.save({"epoch": epoch + 1, **state})  # random generators are kept for you


def evaluate(model: nn.Module, device: str) -> float:
    """Validation accuracy as a fraction; NaN for a model that has diverged."""
    model.eval()
    with torch.inference_mode():
        x, y = next(iter(DataLoader(VAL, batch_size=len(VAL))))
        output = model(x.to(device))
        if not torch.isfinite(output).all():
            return math.nan
        return float((output.argmax(dim=1).cpu() == y).float().mean())
