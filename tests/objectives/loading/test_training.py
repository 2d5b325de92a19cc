"""Training on datasets, streams and loaders: exact, seeded, resumed bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Measurement, TrialParams
from batchfront.objectives.metric import Metric
from batchfront.objectives.task import Data, Task, no_loss
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import Recipe
from tests.objectives.conftest import ready, train
from tests.objectives.loading.people import (
    Named,
    evaluate,
    forward,
    loaders,
    noisy,
    step,
    streams,
    task_of,
    tensors,
)
from tests.objectives.training.test_resume import assert_same_weights, cut_after, uncut

PARAMS = TrialParams(batch_size=16, learning_rate=0.05, epochs=4, seed=7, device="cpu")


def timeless(measured: Measurement) -> Measurement:
    """Without what no two runs share; loading here takes memory here in a validation."""
    return replace(
        measured,
        train_seconds=0,
        process_seconds=0,
        planned_train_seconds=0,
        evaluation_peak_bytes=0,
        techniques={},
    )


FORMS = {
    "pairs": lambda n: task_of(noisy(num_workers=n)),
    "forward": lambda n: task_of(noisy(Named, num_workers=n), forward=forward),
    "stream": lambda n: task_of(streams(num_workers=n)),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_workers_change_nothing(form):
    alone, (two, kept) = uncut(ready(FORMS[form](0)), PARAMS), uncut(ready(FORMS[form](2)), PARAMS)
    assert timeless(alone[0]) == timeless(two)
    assert_same_weights(alone[1], kept)
    assert two.steps == two.total_steps == 4 * 50 // 16


@pytest.mark.parametrize("form", FORMS)
def test_a_length_in_examples_is_that_in_epochs_and_goes_on_from_the_middle_of_one(form):
    objective = ready(FORMS[form](0))
    _, kept = uncut(objective, PARAMS)
    same = replace(PARAMS, length=Length(unit="examples", amount=200, evaluations=4))
    assert_same_weights(uncut(objective, same)[1], kept)
    odd = replace(PARAMS, length=Length(unit="examples", amount=130, evaluations=3))
    uncut_run, kept = uncut(objective, odd)
    assert uncut_run.steps == 130 // 16
    for n_done in (1, 2):
        resumed, again = cut_after(objective, n_done, odd)
        assert timeless(resumed) == timeless(uncut_run)
        assert_same_weights(kept, again)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_that_goes_on_is_the_run_that_was_never_cut(form, num_workers):
    objective = ready(FORMS[form](num_workers))
    whole, kept = uncut(objective, PARAMS)
    resumed, again = cut_after(objective, 2, PARAMS)
    assert timeless(resumed) == timeless(whole)
    assert_same_weights(kept, again)


def test_loaders_of_ones_own_go_on_with_their_generator():
    objective = ready(task_of(loaders=loaders))
    whole, kept = uncut(objective, PARAMS)
    resumed, again = cut_after(objective, 2, PARAMS)
    assert timeless(resumed) == timeless(whole)
    assert_same_weights(kept, again)
    assert whole.steps == whole.total_steps == 4 * 4  # the last one of each epoch has 2 examples


def in_memory() -> Task:
    parts = {split: tensors(split) for split in ("train", "val", "test")}
    names = {f"{half}_{s}": pair[k] for s, pair in parts.items() for k, half in enumerate("xy")}
    return task_of(data=lambda: Data(**names))


def test_datasets_train_as_the_same_tensors_do():
    plain = noisy()
    plain.train.noise = 0.0  # type: ignore[attr-defined]
    measured = uncut(ready(task_of(plain)), PARAMS)
    expected = uncut(ready(in_memory()), PARAMS)
    assert_same_weights(measured[1], expected[1])
    assert measured[0].metric_curve == expected[0].metric_curve


def test_every_example_comes_with_random_numbers_of_its_own():
    objective = ready(task_of(noisy()))
    order = objective.order(3)
    epochs = [torch.cat([x for x, _ in objective.batches(order, 10)]) for _ in range(2)]
    x, _ = tensors("train")
    added = [
        epoch - x[torch.cdist(epoch, x).argmin(dim=1)]
        for epoch in epochs  # nearest: its own
    ]
    assert len(torch.unique(torch.cat(added).flatten())) == 2 * x.numel()


def test_loading_leaves_the_generators_of_training_alone():
    objective = ready(task_of(noisy()))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(objective.batches(objective.order(3), 10))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"forward": forward},
        {"step": step, "loss": no_loss, "metric": Metric("val_accuracy", evaluate, bound=1)},
        {"step": step, "loss": no_loss, "forward": forward},
    ],
    ids=["forward", "step", "both"],
)
def test_a_dict_trains_as_a_pair_does(changes):
    expected = uncut(ready(task_of(noisy())), PARAMS)
    measured, kept = uncut(ready(task_of(noisy(Named), **changes)), PARAMS)
    for name, value in expected[1]["loop"]["model"].items():
        assert torch.equal(kept["loop"]["model"][f"of_user.{name}"], value), name
    assert measured.metric_curve == expected[0].metric_curve


@pytest.mark.parametrize("kind", ["pairs", "dicts"])
def test_micro_batches_follow_the_gradient_of_the_whole_batch(kind):
    plain: dict[str, Any] = {"model": lambda: nn.Linear(5, 3)}
    if kind == "dicts":
        plain |= {"forward": forward, "datasets": noisy(Named)}
    recipe = Recipe(micro_batch_sizes=(4, 4))
    whole = train(ready(task_of(**plain))).result()
    parts = TaskObjective(task_of(**plain), name="p", device="cpu", recipe=recipe)
    assert train(parts).result().train_loss == pytest.approx(whole.train_loss, rel=1e-4)


def test_data_that_is_waited_for_is_told_apart():
    measured = train(ready(task_of(noisy(num_workers=2)))).result()
    assert 0 < measured.techniques["data_wait_share"] <= 1
    assert train(ready(in_memory())).result().techniques == {}


@pytest.mark.slow
def test_peak_memory_is_that_of_the_same_tensors():
    plain = train(ready(in_memory())).result()
    for num_workers in (0, 2):
        measured = train(ready(task_of(noisy(num_workers=num_workers)))).result()
        assert measured.peak_memory_bytes == pytest.approx(plain.peak_memory_bytes, rel=0.02)
    predicted = ready(task_of(noisy(Named), forward=forward)).predict_peak_bytes(16)
    assert predicted == pytest.approx(plain.peak_memory_bytes, rel=0.05)
