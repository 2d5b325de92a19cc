"""Small tasks, and runs as a worker makes them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import batchfront.objectives.meters.clock
import batchfront.objectives.probes.cost
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError, Stopped, TrialParams
from batchfront.objectives.run import Run
from batchfront.objectives.task import Data, Task, sgd_momentum
from batchfront.objectives.training.objective import TaskObjective


def run_of(loop: Callable[[Run], Any], **options: Any) -> Run:
    """The run after `loop(run)` returned or was stopped, as a worker makes it."""
    run = Run(**options)
    with run, suppress(Stopped):
        loop(run)
    return run


def train(objective: Any, **params: Any) -> Run:
    """The run of one training of an objective on the CPU."""
    given = {"batch_size": 16, "learning_rate": 0.05, "epochs": 3, "seed": 1, "device": "cpu"}
    trial = TrialParams(**{**given, **params})
    compiled = getattr(objective, "compiled", False)
    return run_of(lambda run: objective(trial, run), metric=objective.metric, compiled=compiled)


def made_data(
    n: tuple[int, int, int] = (100, 30, 30), *, n_features: int = 5, targets: str = "classes"
) -> Data:
    """Random splits: 3 classes, or 2 targets that depend on x."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(n_features, 3, generator=generator)
    parts = {}
    for split, size in zip(("train", "val", "test"), n, strict=True):
        x = torch.randn(size, n_features, generator=generator)
        noisy = x @ weights + torch.randn(size, 3, generator=generator)  # (N, 3)
        parts[f"x_{split}"] = x
        parts[f"y_{split}"] = noisy.argmax(dim=1) if targets == "classes" else noisy[:, :2]
    return Data(**parts)


def made_task(**changes: Any) -> Task:
    """A small classifier on random data."""
    given: dict[str, Any] = {
        "name": "made",
        "data": made_data,
        "model": lambda: nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3)),
        "loss": nn.functional.cross_entropy,
        "optimizer": sgd_momentum,
    }
    return Task(**{**given, **changes})


def made_regression(**changes: Any) -> Task:
    """A small regression with two targets on random data."""
    return made_task(
        **{
            "data": lambda: made_data(targets="numbers"),
            "model": lambda: nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2)),
            "loss": nn.functional.mse_loss,
            "metric": "r2",
            **changes,
        }
    )


def ready(task: Task) -> TaskObjective:
    """The task as an objective on the CPU."""
    return TaskObjective(task, name=task.name, device="cpu")


class FakeTime:
    """Wall and CPU time that pass only when told to; half of the wall time is CPU time."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now / 2

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    for module in (batchfront.objectives.meters.clock, batchfront.objectives.probes.cost):
        monkeypatch.setattr(module, "time", fake)
    return fake


@pytest.fixture(scope="session")
def digits() -> Any:
    """The bundled digits, ready on the CPU."""
    return load_objective("digits", device="cpu")


LOOP = """
    def objective(params, run):
        run.begin(10)
        run.step(1.0)
        run.report(0.5)
"""
WriteFile = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[WriteFile]:
    """Writes a file to load from; what was imported is forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)

    def write_file(*parts: str, name: str = "mine.py") -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text("\n".join(map(textwrap.dedent, parts)))
        return file

    yield write_file
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(tmp_path):
            del sys.modules[name]


def load(spec: Any) -> Any:
    return load_objective(str(spec), device="cpu")


def refused(spec: Any) -> str:
    """What is said, in one line, when it is not loaded."""
    with pytest.raises(ObjectiveError) as caught:
        load(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)
