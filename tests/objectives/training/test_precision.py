"""Mixed precision: what is computed in 16 bits, and what becomes of overflows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError, Verdict
from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.precision import PATIENCE, LossScaler, check_precision
from batchfront.objectives.training.recipe import PLAIN, Recipe
from tests.objectives.conftest import made_data, made_task, train
from tests.objectives.training.test_techniques import trained


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_keeps_weights_in_float32_and_trains_nearly_as_well(precision):
    recipe = Recipe(precisions=(precision,))
    objective = load_objective("digits", device="cpu", recipe=recipe)
    measured = train(objective, batch_size=64, epochs=5).result()
    assert measured.metric > 0.9
    assert measured.techniques["precision"] == precision
    model = trained(made_task(), recipe)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    plain = trained(made_task(), PLAIN)
    off = [
        (a - b).norm() / b.norm()
        for a, b in zip(model.parameters(), plain.parameters(), strict=True)
    ]
    assert 0 < max(off) < 0.05


def test_the_model_computes_in_16_bits_and_the_loss_in_32_in_training_and_validation():
    seen: list[tuple[torch.dtype, torch.dtype]] = []
    grad: list[bool] = []

    class Seeing(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = super().forward(x)
            grad.append(torch.is_grad_enabled())
            seen.append((x.dtype, out.dtype))
            return out

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        assert output.dtype == torch.float32
        return nn.functional.cross_entropy(output, y)

    task = made_task(model=lambda: Seeing(5, 3), loss=loss)
    objective = TaskObjective(task, name="t", device="cpu", recipe=Recipe(precisions=("bfloat16",)))
    seen.clear()
    grad.clear()
    train(objective, epochs=1)
    assert set(seen) == {(torch.float32, torch.bfloat16)}
    assert set(grad) == {True, False}


def test_a_precision_that_a_device_has_not_is_refused(monkeypatch):
    def no_such(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Current Device does not support bfloat16.")

    monkeypatch.setattr(torch, "autocast", no_such)
    with pytest.raises(ObjectiveError, match="choose --precision float32"):
        check_precision("bfloat16", "cpu")
    check_precision("float32", "cpu")


def scaled_task(factor: float, **changes: Any) -> Task:
    """Its gradients are `factor` times as large as usual."""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, y) * factor

    return made_task(loss=loss, **changes)


def float16(task: Task) -> TaskObjective:
    return TaskObjective(task, name="t", device="cpu", recipe=Recipe(precisions=("float16",)))


def test_overflows_of_the_scale_are_counted_and_the_run_goes_on():
    objective = float16(scaled_task(1e4))
    measured = train(objective, learning_rate=1e-6, epochs=4).result()
    assert measured.verdict is Verdict.COMPLETED
    assert 3 <= measured.techniques["scaler_overflows"] < PATIENCE
    assert measured.train_loss < 1e4 * 1.2


@pytest.mark.parametrize("fused", [True, False])
def test_momentum_of_a_skipped_first_step_is_that_of_no_step(fused):
    def weight_after(losses: list[float]) -> torch.Tensor:
        weight = nn.Parameter(torch.ones(1000))
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=fused)
        scaler = LossScaler("cpu")
        for factor in losses:
            optimizer.zero_grad()
            scaler.scale((weight * factor).sum()).backward()
            scaler.step(optimizer, torch.tensor(0.5))
        return weight.detach()

    junk = [torch.full((1000,), 1e30) for _ in range(50)]  # what fresh memory may hold
    del junk
    assert torch.equal(
        weight_after([float("inf"), float("inf"), 1.0, 2.0]), weight_after([1.0, 2.0])
    )


def test_steps_that_are_all_skipped_end_the_run_as_not_finite():
    def data() -> Data:
        plain = made_data()
        return replace(plain, x_train=plain.x_train * 1e6)  # inf in float16; validation is fine

    run = train(float16(made_task(data=data)), batch_size=4, epochs=40)
    measured = run.result()
    assert measured.verdict is Verdict.NON_FINITE
    assert measured.techniques["scaler_overflows"] >= PATIENCE
    assert measured.steps < 0.2 * measured.total_steps
    assert train(TaskObjective(made_task(data=data), name="t", device="cpu"),
                 learning_rate=1e-13).result().verdict is not Verdict.NON_FINITE  # fmt: skip


def test_a_skipped_step_leaves_the_weights_and_reports_the_loss_before_it():
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler = LossScaler("cpu")

    def step(factor: float, loss: float) -> float:
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        return float(scaler.step(optimizer, torch.tensor(loss)))

    assert step(1.0, 0.5) == 0.5
    before = weight.detach().clone()
    assert step(float("inf"), float("nan")) == 0.5
    assert torch.equal(weight, before)
    assert step(1e38, 0.7) == pytest.approx(0.7)  # the loss is finite, its gradients are not
    assert step(1.0, 0.6) == pytest.approx(0.6)
    assert not torch.equal(weight, before)
    assert scaler.n_skipped == 2
    reported = [step(float("inf"), 0.6) for _ in range(PATIENCE)]
    assert [value == value for value in reported] == [True] * (PATIENCE - 1) + [False]
    again = LossScaler("cpu")
    again.load_state_dict(scaler.state_dict())
    assert again.state_dict() == scaler.state_dict()
