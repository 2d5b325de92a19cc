"""Distance and sharpness of a finished run, and that nothing else notices them."""

from __future__ import annotations

import random
import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from batchfront.objectives.gradients.diagnose import EPSILON, sharpness
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import Measurement, TrialParams, Verdict
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.task import Task
from batchfront.objectives.training.objective import TaskObjective
from tests.objectives.training.test_resume import cut_after, uncut

PARAMS = TrialParams(batch_size=64, learning_rate=0.05, epochs=3, seed=7, device="cpu")
BOTH = replace(PARAMS, diagnostics=("distance", "sharpness"))
TIMES = {"train_seconds", "process_seconds", "planned_train_seconds"}
FOUND = {"weight_norm", "distance_from_init", "sharpness"}


@pytest.fixture(scope="module")
def digits() -> Any:
    return load_objective("digits", device="cpu")


def measured(objective: Any, params: TrialParams) -> Measurement:
    run = Run()
    carry_out(objective, params, run)
    return run.result()


def next_draws() -> tuple[float, float, float]:
    """Of every global generator."""
    return float(torch.rand(1)), float(np.random.random()), random.random()


def without(measurement: Measurement, names: set[str]) -> dict[str, Any]:
    names_kept = [f.name for f in fields(measurement) if f.name not in names]
    return {name: getattr(measurement, name) for name in names_kept}


def noisy() -> nn.Module:
    """Draws random numbers of three kinds when it is made, and more at every step."""
    np.random.random(), random.random()
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))


def test_a_run_is_bit_for_bit_the_same_with_and_without():
    objective = TaskObjective(digits_task(noisy), name="noisy", device="cpu")
    plain, draws = measured(objective, PARAMS), next_draws()
    diagnosed, draws_after = measured(objective, BOTH), next_draws()
    assert without(diagnosed, TIMES | FOUND) == without(plain, TIMES | FOUND)
    assert draws_after == draws
    assert plain.weight_norm is None
    assert diagnosed.sharpness is not None


def test_the_peak_of_a_run_that_is_metered_to_its_end_is_the_same(digits):
    params = replace(PARAMS, batch_size=2048, epochs=1)  # one step: fewer than the meter wants
    plain = measured(digits, params)
    diagnosed = measured(digits, replace(params, diagnostics=BOTH.diagnostics))
    assert diagnosed.peak_memory_bytes == plain.peak_memory_bytes > 0


@pytest.mark.timed
def test_the_clock_stands_still_meanwhile(digits, monkeypatch):
    from batchfront.objectives.training import objective as train

    def slowly(*args: Any, **kwargs: Any) -> dict[str, float]:
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            pass
        return {}

    monkeypatch.setattr(train, "diagnose", slowly)
    run = Run()
    carry_out(digits, replace(BOTH, epochs=1), run)
    assert run.result().train_seconds < 0.4


def test_distance_is_that_between_saved_weights():
    seen: list[nn.Module] = []

    def model() -> nn.Module:
        seen.append(nn.Sequential(nn.Linear(64, 10), nn.BatchNorm1d(10)))
        return seen[-1]

    task = digits_task(model)
    objective = TaskObjective(task, name="seen", device="cpu")
    seen.clear()
    result = measured(objective, replace(PARAMS, diagnostics=("distance",)))
    trained, again = seen
    torch.manual_seed(PARAMS.seed)
    first = nn.Sequential(nn.Linear(64, 10), nn.BatchNorm1d(10))
    now = torch.cat([p.detach().flatten() for p in trained.parameters()]).double()
    then = torch.cat([p.detach().flatten() for p in first.parameters()]).double()
    assert result.weight_norm == pytest.approx(float(now.norm()))
    assert result.distance_from_init == pytest.approx(float((now - then).norm()))
    assert result.distance_from_init > 0.1
    assert result.sharpness is None
    assert again is not trained


def digits_task(model: Any) -> Task:
    from batchfront.objectives.tasks.digits import digits as task

    return replace(task(), model=model)


def test_a_resumed_run_finds_the_same(digits):
    whole, _ = uncut(digits, BOTH)
    for n_epochs in (1, BOTH.epochs):  # also one that died after its last epoch
        resumed, _ = cut_after(digits, n_epochs, BOTH)
        assert {name: getattr(resumed, name) for name in FOUND} == {
            name: getattr(whole, name) for name in FOUND
        }


def test_a_stopped_run_has_none(digits):
    result = measured(digits, replace(BOTH, learning_rate=1e4, epochs=20))
    assert result.verdict is not Verdict.COMPLETED
    assert result.weight_norm is result.sharpness is None


def box(w: torch.Tensor) -> torch.Tensor:
    return EPSILON * (w.abs() + 1)


def at(w: torch.Tensor, loss: Any) -> float | None:
    weights = w.clone().requires_grad_()

    def losses() -> float:
        value = loss(weights)
        value.backward()
        return float(value.detach())

    return sharpness([weights], losses)


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_sharpness_of_a_bowl_is_that_of_its_farthest_corner(scale):
    """sum(c w^2) is largest where every weight is farthest from zero."""
    torch.manual_seed(0)
    w = scale * torch.randn(50, dtype=torch.float64)
    curvature = torch.rand(50, dtype=torch.float64) * 10
    centre = float((curvature * w**2).sum())
    corner = float((curvature * (w.abs() + box(w)) ** 2).sum())
    expected = 100 * (corner - centre) / (1 + centre)
    assert at(w, lambda v: (curvature * v**2).sum()) == pytest.approx(expected, rel=1e-9)


def test_sharpness_of_a_dome_inside_the_box_is_that_of_its_top():
    w = torch.ones(3, dtype=torch.float64)
    top = w + torch.tensor([0.5, -0.3, 0.1]) * box(w)
    found = at(w, lambda v: 5 - 1e6 * ((v - top) ** 2).sum())
    centre = 5 - 1e6 * float(((w - top) ** 2).sum())
    assert found == pytest.approx(100 * (5 - centre) / (1 + centre), rel=0.02)


def test_sharpness_beats_every_random_point_of_the_box():
    torch.manual_seed(1)
    a = torch.randn(20, 20, dtype=torch.float64)

    def loss(v: torch.Tensor) -> torch.Tensor:
        return (torch.tanh(a @ v) ** 2).sum()

    w = torch.randn(20, dtype=torch.float64)
    low = float(loss(w))
    corners = torch.randint(0, 2, (2000, 20)).double() * 2 - 1
    best = max(float(loss(w + c * box(w))) for c in corners)
    found = at(w, loss)
    assert found is not None
    assert found >= 100 * (best - low) / (1 + low)


def test_a_loss_that_is_no_number_has_no_sharpness():
    assert at(torch.ones(2), lambda v: v.sum() * float("nan")) is None
