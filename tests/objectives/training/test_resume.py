"""A run that goes on from a checkpoint is the run that was never cut off, bit for bit."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import Measurement, TrialParams
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.task import Data, Task, sgd_momentum
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import Recipe

PARAMS = TrialParams(batch_size=32, learning_rate=0.05, epochs=5, seed=7, device="cpu")


class CutOff(BaseException):
    """The process died here."""


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """As another process reads it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def uncut(objective: Any, params: TrialParams = PARAMS) -> tuple[Measurement, dict[str, Any]]:
    """What it measures, and what it saved last."""
    kept: list[dict[str, Any]] = []
    run = Run(target=0.5)
    run.keep = lambda state: kept.append(through_a_file(state))
    carry_out(objective, params, run)
    return run.result(), kept[-1]


def cut_after(
    objective: Any, n_epochs: int, params: TrialParams = PARAMS
) -> tuple[Measurement, dict[str, Any]]:
    """The same of a run that died after so many epochs and was taken up by another process."""
    kept: list[dict[str, Any]] = []

    def keep(state: dict[str, Any]) -> None:
        kept.append(through_a_file(state))
        if len(kept) == n_epochs:
            raise CutOff

    first = Run(target=0.5)
    first.keep = keep
    with pytest.raises(CutOff):
        carry_out(objective, params, first)
    torch.manual_seed(99)  # another process starts with other generators
    np.random.seed(99)
    random.seed(99)
    second = Run(target=0.5)
    second.restore(kept[-1])
    second.keep = keep
    carry_out(objective, params, second)
    return second.result(), kept[-1]


def timeless(measured: Measurement) -> Measurement:
    """Without what no two runs share."""
    return replace(measured, train_seconds=0.0, process_seconds=0.0, planned_train_seconds=0.0)


def assert_same_weights(a: dict[str, Any], b: dict[str, Any]) -> None:
    for name, value in a["loop"]["model"].items():
        assert torch.equal(value, b["loop"]["model"][name]), name
    assert torch.equal(a["run"]["random"]["torch"], b["run"]["random"]["torch"])


@pytest.mark.parametrize("task", ["digits", "diabetes"])
@pytest.mark.parametrize("n_epochs", [1, 3, 5])
def test_a_bundled_task_goes_on_bit_for_bit(task, n_epochs):
    objective = load_objective(task, device="cpu")
    (whole, kept), (resumed, kept_again) = uncut(objective), cut_after(objective, n_epochs)
    assert timeless(resumed) == timeless(whole)
    assert_same_weights(kept, kept_again)


def small_data() -> Data:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 6, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()
    return Data(x_train=x[:64], y_train=y[:64], x_val=x[64:80], y_val=y[64:80],
                x_test=x[80:], y_test=y[80:])  # fmt: skip


def noisy_model() -> torch.nn.Module:
    """Draws random numbers in every step, and keeps statistics that are no parameters."""
    return torch.nn.Sequential(
        torch.nn.Linear(6, 16),
        torch.nn.BatchNorm1d(16),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(16, 2),
    )


@pytest.mark.parametrize(
    "optimizer",
    [sgd_momentum, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad,
     torch.optim.NAdam],
)  # fmt: skip
def test_dropout_batch_norm_and_every_optimizer_go_on_bit_for_bit(optimizer):
    task = Task(
        name="noisy",
        data=small_data,
        model=noisy_model,
        loss=torch.nn.functional.cross_entropy,
        optimizer=optimizer,
    )
    objective = TaskObjective(task, name="noisy", device="cpu")
    params = replace(PARAMS, batch_size=20, learning_rate=0.01)
    (whole, kept), (resumed, again) = uncut(objective, params), cut_after(objective, 2, params)
    assert timeless(resumed) == timeless(whole)
    assert_same_weights(kept, again)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(micro_batch_sizes=(8, 8), precisions=("bfloat16",), ghost_batch_size=4),
        Recipe(micro_batch_sizes=(8, 8), precisions=("float16",), checkpoint_activations=True),
    ],
)
def test_techniques_go_on_bit_for_bit(recipe):
    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 500 * torch.nn.functional.cross_entropy(output, y)  # makes a scaler overflow

    task = Task(
        name="noisy", data=small_data, model=noisy_model, loss=loss, optimizer=torch.optim.Adam
    )
    objective = TaskObjective(task, name="noisy", device="cpu", recipe=recipe)
    params = replace(PARAMS, batch_size=20, learning_rate=0.01)
    for n_epochs in (1, 3):
        (whole, kept), (resumed, again) = (
            uncut(objective, params),
            cut_after(objective, n_epochs, params),
        )
        assert timeless(resumed) == timeless(whole)
        assert_same_weights(kept, again)
        assert kept["loop"].get("stepper") == again["loop"].get("stepper")
    assert whole.techniques.get("scaler_overflows", 1) > 0


def own_loop(params: TrialParams, run: Run) -> None:
    """As in the README: a loop of one's own that saves and goes on."""
    data = small_data()
    model = noisy_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=params.learning_rate, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.epochs)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    first = 0
    if run.restored is not None:
        first = run.restored["epoch"]
        for name, part in parts.items():
            part.load_state_dict(run.restored[name])
    run.begin(params.epochs * 4, baseline_loss=0.7)
    for epoch in range(first, params.epochs):
        for index in torch.randperm(64).split(16):
            noise = float(np.random.normal()) * 0.01 + random.random() * 0.01
            optimizer.zero_grad()
            output = model(data.x_train[index] + noise)
            loss = torch.nn.functional.cross_entropy(output, data.y_train[index])
            loss.backward()
            optimizer.step()
            run.step(loss)
        scheduler.step()
        with run.validating(), torch.no_grad():
            guess = model.eval()(data.x_val).argmax(dim=1)
            model.train()
        run.report(float((guess == data.y_val).float().mean()))
        run.save({"epoch": epoch + 1, **{key: part.state_dict() for key, part in parts.items()}})


def test_a_loop_of_ones_own_that_uses_all_generators_goes_on_bit_for_bit():
    def seeded(params: TrialParams, run: Run) -> None:
        torch.manual_seed(params.seed)
        np.random.seed(params.seed)
        random.seed(params.seed)
        own_loop(params, run)

    (whole, kept), (resumed, again) = uncut(seeded), cut_after(seeded, 2)
    assert timeless(resumed) == timeless(whole)
    assert_same_weights(kept, again)


def test_time_of_a_resumed_run_is_that_of_both_parts_without_the_time_between(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.process_time", lambda: now[0])

    def epochs(run: Run, n: int) -> None:
        for _ in range(n):
            now[0] += 2.0
            run.step(0.5)
            run.report(0.5)
            run.save({"epoch": len(run.curve)})

    kept: list[dict[str, Any]] = []
    first = Run(measure_memory=False)
    first.keep = kept.append
    with first:
        first.begin(5)
        epochs(first, 3)
        now[0] += 1.0  # of an epoch that is lost
    now[0] += 1000.0
    second = Run(measure_memory=False)
    second.restore(kept[-1])
    with second:
        second.begin(5)
        epochs(second, 2)
    measured = second.result()
    assert (measured.train_seconds, measured.steps, len(measured.metric_curve)) == (10.0, 5, 5)


def test_the_first_epoch_of_a_new_process_is_warm_up_again(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    kept: list[dict[str, Any]] = []

    def epoch(run: Run, seconds: float) -> None:
        now[0] += seconds
        run.step(0.5)
        run.report(0.5)
        run.save({"epoch": len(run.curve)})

    first = Run(measure_memory=False)
    first.keep = kept.append
    with first:
        first.begin(4)
        epoch(first, 9.0)
        epoch(first, 2.0)
    second = Run(measure_memory=False)
    second.restore(kept[-1])
    with second:
        second.begin(4)
        epoch(second, 50.0)
        epoch(second, 2.0)
    assert second.result().train_seconds == 8.0  # four epochs at 2 s: both warm-ups left out


def test_the_peak_of_the_earlier_process_counts():
    kept: list[dict[str, Any]] = []
    objective = load_objective("digits", device="cpu")
    whole, _ = uncut(objective)
    first = Run()
    first.keep = kept.append
    carry_out(objective, replace(PARAMS, epochs=2), first)
    second = Run(measure_memory=False)  # sees nothing itself
    second.restore(through_a_file(kept[0]))
    carry_out(objective, replace(PARAMS, epochs=2), second)
    assert second.result().peak_memory_bytes == whole.peak_memory_bytes


def test_save_does_nothing_where_nothing_is_kept():
    run = Run(measure_memory=False)
    with run:
        run.begin(1)
        run.step(0.5)
        run.report(0.5)
        run.save({"model": object()})
    assert run.restored is None


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(schedule="doubling"),
        Recipe(schedule="noise-scale"),
        Recipe(rate_schedule="cosine", warmup_examples=200),
        Recipe(beta2_half_life=500.0, schedule="noise-scale", rate_schedule="cosine"),
    ],
    ids=lambda recipe: recipe.stored,
)
@pytest.mark.parametrize("n_epochs", [1, 4])
def test_schedules_go_on_bit_for_bit(recipe, n_epochs):
    task = Task(
        name="noisy",
        data=small_data,
        model=noisy_model,
        loss=torch.nn.functional.cross_entropy,
        optimizer=torch.optim.AdamW,
    )
    objective = TaskObjective(task, name="noisy", device="cpu", recipe=recipe)
    params = replace(PARAMS, batch_size=2, learning_rate=0.01, epochs=6)
    (whole, kept), (resumed, again) = (
        uncut(objective, params),
        cut_after(objective, n_epochs, params),
    )
    assert timeless(resumed) == timeless(whole)
    assert (len(whole.phases) > 1) is (recipe.schedule != "constant")
    assert_same_weights(kept, again)
