"""Predicted peaks against the CPU allocator's own events: another method than ours."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.optimizer import build_optimizer
from batchfront.objectives.training.predict import calibrated, predict_peak_bytes
from batchfront.objectives.training.recipe import Recipe
from tests.objectives.meters.test_memory import allocator_peak


class Encoder(nn.Module):
    """nn.TransformerEncoder deep-copies its layer, which plain fake tensors do not survive."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.embed, self.encode = nn.Embedding(100, 32), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T) -> (B, 10)
        return self.head(self.encode(self.embed(x)).mean(dim=1))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(16 * 8 * 8, 10),
    )


MODELS: dict[str, Any] = {
    "mlp": (mlp, torch.randn(128, 64)),
    "cnn": (cnn, torch.randn(128, 3, 16, 16)),
    "encoder": (Encoder, torch.randint(0, 100, (128, 16))),
}
OPTIMIZERS: dict[str, Any] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


def task_of(model: str, optimizer: Any) -> tuple[Task, Data]:
    make, x = MODELS[model]
    y = torch.randint(0, 10, (len(x),))
    data = Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)
    return Task(
        name=model, data=lambda: data, model=make, loss=cross_entropy, optimizer=optimizer
    ), data


def two_real_steps(task: Task, data: Data, batch_size: int) -> None:
    model = task.model().train()
    optimizer = build_optimizer(task, model, learning_rate=1e-3, device="cpu")
    x, y = data.x_train[:batch_size], data.y_train[:batch_size]
    for _ in range(2):
        optimizer.zero_grad()
        task.loss(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize("batch_size", [8, 128])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_the_prediction_is_within_five_percent_of_the_allocator(model, optimizer, batch_size):
    task, data = task_of(model, OPTIMIZERS[optimizer])
    work = partial(two_real_steps, task, data, batch_size)
    work()  # oneDNN keeps what it makes at its first call
    predicted = predict_peak_bytes(task, data, batch_size=batch_size, device="cpu")
    assert predicted == pytest.approx(allocator_peak(work), rel=0.05)


@pytest.mark.parametrize("name", ["ASGD", "Adafactor", "LBFGS"])
def test_optimizers_that_need_real_values_are_not_predicted(name):
    task, data = task_of("mlp", getattr(torch.optim, name))
    assert predict_peak_bytes(task, data, batch_size=8, device="cpu") is None


def test_a_model_whose_path_depends_on_data_is_not_predicted():
    class Branching(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if bool((x > 0).any()) else x

    task, data = task_of("mlp", torch.optim.SGD)
    branching = Task(**{**vars(task), "model": lambda: Branching(64, 10)})
    assert predict_peak_bytes(branching, data, batch_size=8, device="cpu") is None


def test_sizes_are_rounded_to_the_allocators_blocks_for_cuda_only():
    task, data = task_of("mlp", torch.optim.Adam)
    peak = {d: predict_peak_bytes(task, data, batch_size=8, device=d) for d in ("cpu", "cuda:0")}
    assert peak["cuda:0"] % 512 == 0
    assert 0 < peak["cuda:0"] - peak["cpu"] < 512 * 60  # under a block for each living tensor


def test_a_prediction_disturbs_no_random_numbers():
    task, data = task_of("cnn", torch.optim.SGD)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    predict_peak_bytes(task, data, batch_size=8, device="cpu")
    assert torch.equal(torch.rand(2), expected)


def test_calibration_finds_a_planted_line_and_keeps_what_it_cannot_know():
    predicted = {size: 1000 * size for size in (1, 2, 4, 256)}
    measured = {size: 5000 + 1300 * size for size in (1, 2, 4)}
    assert calibrated(predicted, measured)[256] == pytest.approx(5000 + 1300 * 256, rel=1e-3)
    assert calibrated(predicted, {}) == predicted
    assert calibrated({1: None, 2: 10}, {1: 7}) == {1: None, 2: 10}
    assert calibrated(predicted, {4: 8000})[256] == 512_000


class Normed(nn.Module):
    """Its LayerNorms compute in float32, as those of CUDA's autocast do."""

    def __init__(self, *, by_hand: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(64) for _ in range(3))
        self.out, self.by_hand = nn.Linear(64, 10), by_hand

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = layer(x)
            x = torch.relu(norm(x.float() if self.by_hand else x))
        return self.out(x)


def test_mixed_precision_on_cuda_is_predicted_by_the_functions_that_stay_in_float32():
    recipe, peaks = Recipe(precisions=("bfloat16",)), {}
    for by_hand in (False, True):
        task, data = task_of("mlp", torch.optim.SGD)
        task = replace(task, model=partial(Normed, by_hand=by_hand))
        for device in ("cpu", "cuda:0"):
            peak = predict_peak_bytes(task, data, batch_size=128, device=device, recipe=recipe)
            assert peak is not None
            peaks[device, by_hand] = peak
    assert peaks["cuda:0", False] == pytest.approx(peaks["cpu", True], rel=0.02)
    assert peaks["cuda:0", False] > 1.2 * peaks["cpu", False]
