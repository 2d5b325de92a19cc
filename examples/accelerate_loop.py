"""A loop with Accelerate joins: the lines with `run`, and `params` for what it trains with.

pip install 'batchfront[transformers]'
make study TASK=examples/accelerate_loop.py BATCH_SIZES=16:64
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

FOUND = load_digits()
X = torch.tensor(FOUND.data, dtype=torch.float32) / 16  # (1797, 64)
TRAIN, VAL = random_split(
    TensorDataset(X, torch.tensor(FOUND.target)), [1200, 597], torch.Generator().manual_seed(0)
)


def objective(params, run):
    accelerator = Accelerator(cpu=params.device == "cpu")
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.learning_rate)
    loader = DataLoader(TRAIN, batch_size=params.batch_size, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    run.begin(params.epochs * len(loader))
    for _ in range(params.epochs):
        for x, y in loader:  # (B, 64), (B,)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            run.step(loss)
        with run.validating():
            x, y = (part.to(accelerator.device) for part in next(iter(DataLoader(VAL, len(VAL)))))
            with torch.inference_mode():
                accuracy = (model(x).argmax(dim=1) == y).float().mean()
        run.report(accuracy)
