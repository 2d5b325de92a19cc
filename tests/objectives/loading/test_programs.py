"""Programs as people have them join by a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.objectives.conftest import load, train
from tests.objectives.loading import programs

GLUE = """
    import torch
    from batchfront import Datasets, Metric, Task
    from tests.objectives.loading import programs as mine

    splits = {part: mine.Digits(part) for part in ("train", "val", "test")}
    task = Task(name="mine", model=mine.build, METRIC
                datasets=Datasets(**splits, train_collate_fn=mine.collate, num_workers=2),
                loss=torch.nn.CrossEntropyLoss(label_smoothing=0.1),
                optimizer=lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, weight_decay=5e-4))
"""
OWN = 'metric=Metric("top1", lambda model, val: {"top1": mine.top1(model, val, "cpu")}),'


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["", OWN], ids=["accuracy", "top1"])
def test_a_vision_program_joins_with_at_most_12_lines(write, metric):
    glue = GLUE.replace("METRIC", metric)
    assert len([line for line in glue.splitlines() if line.strip()]) <= 12
    path: Path = write(glue)
    objective: Any = load(path)
    assert objective.loss.kind == "mean"
    measured = train(objective, batch_size=16, learning_rate=0.1, epochs=6).result()
    assert measured.steps == 6 * 256 // 16
    assert measured.metric is not None
    assert measured.metric > 0.25  # as the program itself reaches
    assert measured.generalization_gap is not None
    assert objective._baseline_loss == pytest.approx(2.29, abs=0.03)  # of hard labels: ln 10


TABLES = {
    "mae": "model=lambda: mine.layers(10, 1), data=lambda: Data(**mine.progression()), "
    'loss=torch.nn.L1Loss(), metric="mae",',
    "map": "model=lambda: mine.layers(20, 5), data=lambda: Data(**mine.labels()), "
    'loss=torch.nn.BCEWithLogitsLoss(), metric="map",',
}
TABLE_GLUE = """
    import torch
    from batchfront import Data, Task
    from tests.objectives.loading import programs as mine

    task = Task(name="mine", optimizer=torch.optim.Adam, epochs=5,
                GIVEN)
"""


@pytest.mark.parametrize("metric", TABLES)
def test_a_program_on_a_table_joins_with_at_most_12_lines(write, metric):
    glue = TABLE_GLUE.replace("GIVEN", TABLES[metric].replace(", ", ",\n" + 16 * " "))
    assert len([line for line in glue.splitlines() if line.strip()]) <= 12
    measured = train(load(write(glue)), batch_size=16, learning_rate=0.05, epochs=5).result()
    assert measured.metric is not None
    if metric == "map":
        y = programs.labels()["y_val"]
        assert measured.metric > float(y.mean(0).mean()) + 0.2  # what chance has
    else:
        y = programs.progression()["y_val"]
        assert measured.metric < 0.9 * float((y - y.median()).abs().mean())
