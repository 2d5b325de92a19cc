"""Our loop against hand-written ones, and its scores against scikit-learn's."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score
from torch import nn

from batchfront.objectives.loading.examples import Tensors
from batchfront.objectives.measurement import ObjectiveError, Verdict
from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.optimizer import build_optimizer, step_function
from tests.objectives.conftest import made_data, made_regression, made_task, ready, train


def remembering(task: Task) -> tuple[Task, list[nn.Module]]:
    """The task, and the models it makes from now on."""
    models: list[nn.Module] = []

    def model() -> nn.Module:
        models.append(task.model())
        return models[-1]

    return Task(**{**vars(task), "model": model}), models


def trained(task: Task, **params: Any) -> tuple[list[torch.Tensor], tuple[float, ...]]:
    """Final weights and metric curve."""
    task, models = remembering(task)
    run = train(ready(task), **params)
    return list(models[-1].state_dict().values()), run.result().metric_curve


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def by_hand(
    task: Task, optimizer_of: Any, *, batch_size: int, learning_rate: float, epochs: int, seed: int
) -> tuple[list[torch.Tensor], list[float]]:
    """The loop everybody writes, scored by scikit-learn."""
    data = task.data()
    torch.manual_seed(seed)
    model = task.model()
    optimizer = optimizer_of(model.parameters(), lr=learning_rate)
    order = torch.Generator().manual_seed(seed)
    curve, waiting = [], torch.empty(0, dtype=torch.int64)
    size = min(batch_size, len(data.x_train))
    for _ in range(epochs):
        waiting = torch.cat([waiting, torch.randperm(len(data.x_train), generator=order)])
        while len(waiting) >= size:
            batch, waiting = waiting[:size], waiting[size:]
            optimizer.zero_grad()
            task.loss(model(data.x_train[batch]), data.y_train[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            output = model(data.x_val)
        if task.metric == "r2":
            curve.append(r2_score(data.y_val, output, multioutput="variance_weighted"))
        else:
            curve.append(accuracy_score(data.y_val, output.argmax(dim=1)))
    return list(model.state_dict().values()), curve


PLAN = {"learning_rate": 0.005, "epochs": 2, "seed": 7}
OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,  # has no fused form
}


@pytest.mark.parametrize("batch_size", [1, 16, 100, 1000])  # 100 examples: 16 leaves a rest of 4
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", [made_task, made_regression])
def test_training_is_that_of_a_hand_written_loop(make, optimizer, batch_size):
    task = make(optimizer=OPTIMIZERS[optimizer])
    weights, curve = trained(task, batch_size=batch_size, **PLAN)
    expected, expected_curve = by_hand(task, task.optimizer, batch_size=batch_size, **PLAN)
    # The fused form rounds differently from the plain one, in the last bit of each step.
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-5)
    assert list(curve) == pytest.approx(expected_curve, abs=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_with_the_fused_form_it_is_so_bit_for_bit(optimizer):
    task = made_task(optimizer=OPTIMIZERS[optimizer])
    weights, curve = trained(task, batch_size=16, **PLAN)
    fused = partial(task.optimizer, fused=True)
    expected, expected_curve = by_hand(task, fused, batch_size=16, **PLAN)
    assert equal(weights, expected)
    assert list(curve) == expected_curve


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before():
    first = trained(made_task(), seed=3)
    torch.rand(17)
    again = trained(made_task(), seed=3)
    assert equal(first[0], again[0])
    assert first[1] == again[1]


def test_another_seed_gives_other_weights():
    assert not equal(trained(made_task(), seed=3)[0], trained(made_task(), seed=4)[0])


def test_the_seed_decides_the_order_of_the_data_too():
    def model() -> nn.Module:
        zero = nn.Linear(5, 3)
        nn.init.zeros_(zero.weight)
        nn.init.zeros_(zero.bias)
        return zero

    task = made_task(model=model)
    assert not equal(trained(task, seed=3)[0], trained(task, seed=4)[0])


def test_the_test_split_is_never_looked_at():
    data = made_data()
    other = Data(**{**vars(data), "x_test": -9 * data.x_test[:5], "y_test": 2 - data.y_test[:5]})
    with_data, with_other = (trained(made_task(data=lambda d=d: d)) for d in (data, other))
    assert equal(with_data[0], with_other[0])
    assert with_data[1] == with_other[1]


def test_training_changes_no_data():
    data = made_data()
    before = {name: tensor.clone() for name, tensor in vars(data).items()}
    train(ready(made_task(data=lambda: data)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in vars(data).items())


def test_the_model_trains_in_training_mode_and_validates_in_evaluation_mode():
    modes = []

    class Watched(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            modes.append((self.training, torch.is_grad_enabled()))
            return super().forward(x)

    objective = ready(made_task(model=lambda: Watched(5, 3)))
    modes.clear()
    train(objective, batch_size=50, epochs=2)
    steps, validation = [(True, True)] * 2, [(False, False)]
    assert modes == steps + validation + steps + validation * 2  # the last: the training score


def test_a_run_is_told_its_budget_gap_and_target():
    result = train(ready(made_task()), batch_size=30, epochs=5).result()
    assert (result.steps, result.total_steps) == (16, 16)  # 500 examples
    assert result.generalization_gap is not None


@pytest.mark.parametrize("part", [7, 4096])
def test_accuracy_is_that_of_scikit_learn_however_it_is_cut(monkeypatch, part):
    monkeypatch.setattr("batchfront.objectives.training.evaluation.EVALUATED_TARGETS", part)
    data = made_data()
    objective, model = ready(made_task()), nn.Linear(5, 3)
    expected = accuracy_score(data.y_train, model(data.x_train).argmax(dim=1))
    assert objective.score(model, Tensors(data.x_train, data.y_train)) == expected


@pytest.mark.parametrize("n_targets", [0, 1, 2], ids=["flat", "one", "two"])
def test_r2_is_that_of_scikit_learn(n_targets):
    generator = torch.Generator().manual_seed(0)
    shape = (50, n_targets) if n_targets else (50,)
    y = 3 + torch.randn(shape, generator=generator)
    output = y + torch.randn(shape, generator=generator)
    found = ready(made_regression()).score(nn.Identity(), Tensors(output, y))
    expected = r2_score(y.double(), output.double(), multioutput="variance_weighted")
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("make", [made_task, made_regression])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_outputs_that_are_no_numbers_are_no_score(make, bad):
    y = torch.zeros(3, dtype=torch.int64) if make is made_task else torch.randn(3, 2)
    output = torch.ones(3, 3 if make is made_task else 2)
    output[1, 0] = bad
    assert not math.isfinite(ready(make()).score(nn.Identity(), Tensors(output, y)))


def test_weights_that_overflow_end_the_run():
    assert train(ready(made_task()), learning_rate=1e38).result().verdict is Verdict.NON_FINITE


def adam(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=lr)


@pytest.mark.parametrize(
    ("make", "fused"),
    [
        (torch.optim.SGD, True),
        (partial(torch.optim.AdamW, weight_decay=0.1), True),
        (lambda parameters, **kwargs: torch.optim.Adam(parameters, **kwargs), True),
        (adam, None),  # takes no more than it must
        (partial(torch.optim.SGD, foreach=True), None),
        (partial(torch.optim.SGD, fused=False), False),
        (torch.optim.RMSprop, None),
    ],
    ids=[
        "class",
        "partial",
        "kwargs",
        "lr-only",
        "foreach-chosen",
        "fused-declined",
        "no-fused-form",
    ],
)
def test_the_fused_form_is_used_where_the_task_leaves_the_choice(make, fused):
    model = nn.Linear(2, 2)
    task = made_task(optimizer=make)
    optimizer = build_optimizer(task, model, learning_rate=0.25, device="cpu")
    assert optimizer.defaults.get("fused") is fused
    assert optimizer.defaults["lr"] == 0.25
    assert train(ready(task)).result().verdict is Verdict.COMPLETED


@pytest.mark.parametrize("hook", ["pre", "post", "instance"])
def test_step_hooks_and_steps_of_ones_own_are_kept(hook):
    calls = []

    def optimizer_of(parameters: Any, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(parameters, **kwargs)
        if hook == "instance":
            plain = optimizer.step
            optimizer.step = lambda: (calls.append(1), plain())  # type: ignore[method-assign]
        else:
            register = getattr(optimizer, f"register_step_{hook}_hook")
            register(lambda *_: calls.append(1))
        return optimizer

    result = train(ready(made_task(optimizer=optimizer_of))).result()
    assert len(calls) == result.steps > 0


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS])
def test_the_step_function_does_what_step_does(make):
    models = [nn.Linear(3, 1), nn.Linear(3, 1)]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.randn(8, 3)
    for model, step_of in zip(models, [lambda o: o.step, step_function], strict=True):
        optimizer = make(model.parameters(), lr=0.1)
        loss_of = partial(lambda m: m(x).square().mean(), model)
        loss_of().backward()
        step = step_of(optimizer)
        step(loss_of) if make is torch.optim.LBFGS else step()
    assert equal(list(models[0].state_dict().values()), list(models[1].state_dict().values()))


def test_what_does_not_fit_together_is_refused_when_the_task_is_made_ready():
    data = made_data()
    data.x_val[0, 0] = math.nan
    with pytest.raises(ObjectiveError, match="x_val has 1 NaN"):
        ready(made_task(data=lambda: data))


def test_making_a_task_ready_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ready(made_task())
    assert torch.equal(torch.rand(3), expected)


def words() -> Data:
    """Bags of four words each, of which some classes prefer some."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.randint(0, 10, (60, 4), generator=generator) + 10 * y[:, None]
    return Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)


@pytest.mark.parametrize("bag", [False, True])
def test_sparse_gradients_train_as_dense_ones_do(bag):
    """No fused optimizer of torch's takes them."""

    def task(*, sparse: bool) -> Task:
        def model() -> nn.Module:
            if bag:
                return nn.EmbeddingBag(30, 3, sparse=sparse)
            return nn.Sequential(nn.Embedding(30, 3, sparse=sparse), nn.Flatten(), nn.Linear(12, 3))

        return made_task(data=words, model=model, optimizer=torch.optim.SGD)

    weights, curve = trained(task(sparse=True))
    expected, same = trained(task(sparse=False))
    assert curve == same
    for got, want in zip(weights, expected, strict=True):
        torch.testing.assert_close(got, want)
