"""Ranks load their own part of each batch, and train the run of one process."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.training.recipe import SHARDS, Recipe
from tests.objectives.training.test_resume import uncut

TASK = """
    import torch
    from torch import nn
    from torch.utils.data import Dataset, IterableDataset
    from batchfront import Datasets, Task
    from batchfront.objectives.task import sgd_momentum

    class Examples(Dataset):
        def __init__(self, n):
            g = torch.Generator().manual_seed(n)
            self.x, self.n_loaded = torch.randn(n, 6, generator=g, dtype=torch.float64), 0

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            self.n_loaded += 1
            x = self.x[i] + 0.1 * torch.rand(6, dtype=torch.float64)
            return {"x": x, "y": (x[0] * x[1] > 0).long()}

    class Stream(IterableDataset):
        def __init__(self, n):
            self.examples = Examples(n)

        def __iter__(self):
            return (self.examples[i] for i in range(len(self.examples)))

    def forward(model, batch):
        return model(batch["x"]), batch["y"]

    def of(datasets):
        model = lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2)).double()
        return Task(name="made", datasets=datasets, model=model, forward=forward,
                    loss=nn.functional.cross_entropy, optimizer=sgd_momentum)

    task = of(Datasets(train=Examples(50), val=Examples(20)))
    workers = of(Datasets(train=Examples(50), val=Examples(20), num_workers=1))
    stream = of(Datasets(train=Stream(50), val=Stream(20), n_train=50, n_val=20))
"""
PARAMS = TrialParams(batch_size=16, learning_rate=0.05, epochs=3, seed=7, device="cpu")


def both(path: Path, name: str, **recipe: Any) -> Any:
    """The run of one process and that of two ranks, and the objective of the latter."""
    path.write_text(textwrap.dedent(TASK))
    alone = uncut(load_objective(f"{path}:{name}", device="cpu"), PARAMS)
    objective: Any = load_objective(
        f"{path}:{name}", device="cpu", recipe=Recipe(data_parallel=2, **recipe)
    )
    before = getattr(objective._source._datasets.train, "n_loaded", 0)
    try:
        together = uncut(objective, PARAMS)
    finally:
        objective.member.ranks.end()
    return alone, together, objective._source._datasets.train, before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("task", {"shards": SHARDS[0]}),
        ("task", {"shards": SHARDS[1], "micro_batch_sizes": (2, 2)}),
        ("stream", {"shards": SHARDS[0]}),
        ("workers", {"shards": SHARDS[0]}),
    ],
    ids=["striped", "block", "stream", "workers"],
)
def test_a_run_of_two_ranks_is_the_run_of_one_process(tmp_path, name, recipe):
    alone, together, train, before = both(tmp_path / "ranked.py", name, **recipe)
    assert alone[0].train_loss == pytest.approx(together[0].train_loss, rel=1e-12)
    assert alone[0].metric_curve == together[0].metric_curve
    for key, value in alone[1]["loop"]["model"].items():
        found = together[1]["loop"]["model"][key]
        torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-13)
    if name == "task":
        scored = 20  # the training split is scored at the end, by as many as there are in val
        assert train.n_loaded - before == scored + 9 * 16 // 2
