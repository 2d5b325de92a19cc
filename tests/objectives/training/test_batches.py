"""Every step takes exactly as many examples as the batch size says; older runs keep their rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.task import Data
from batchfront.objectives.training.batches import (
    EXACT,
    RAGGED,
    RULES,
    Order,
    order_memory,
    rule_in,
    sizes_of_steps,
    steps_of,
)
from batchfront.objectives.training.feed import LoaderFeed, ResidentFeed
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import Recipe
from tests.objectives.conftest import made_data, made_task, train
from tests.objectives.training.test_resume import (
    PARAMS,
    assert_same_weights,
    through_a_file,
    timeless,
)

SEED = 3
RUNS = [
    (10, [3] * 4),
    (10, [1] * 3),
    (10, [7] * 5),  # once more is left over than one shuffle could hold beside it
    (10, [9] * 10),
    (10, [10] * 3),
    (10, [16] * 3),  # larger than the training split
    (1, [1] * 2),
    (1, [4] * 2),
    (13, [2, 4, 8, 8, 4, 2]),
    (13, [3, 3, 6, 6, 12, 12]),
]


def brute_force(n_train: int, sizes: Sequence[int], rule: str) -> list[list[list[int]]]:
    """Examples by epoch and step, taken one by one from a list."""
    generator, waiting, epochs = torch.Generator().manual_seed(SEED), [], []
    for size in sizes:
        waiting += torch.randperm(n_train, generator=generator).tolist()
        steps, least = [], min(size, n_train) if rule == EXACT else 1
        while len(waiting) >= least:
            steps.append([waiting.pop(0) for _ in range(min(size, n_train, len(waiting)))])
        epochs.append(steps)
    return epochs


def ours(feed: Any, n_train: int, sizes: Sequence[int], rule: str) -> list[list[list[int]]]:
    """The same of an order and a feed, whose order is kept and loaded after every epoch."""
    order = Order(order_memory(n_train), seed=SEED, rule=rule)
    epochs = []
    for size in sizes:
        epochs.append([x.flatten().tolist() for x, _ in feed.epoch(order.epoch(size), size)])
        kept = order.state()
        order = Order(order_memory(n_train), seed=99, rule=EXACT)
        order.go_on_from(kept)
    assert order.rule == rule
    return epochs


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", [ResidentFeed, LoaderFeed])
@pytest.mark.parametrize(("n_train", "sizes"), RUNS)
def test_steps_take_the_examples_that_counting_by_hand_gives(n_train, sizes, kind, rule):
    x = torch.arange(n_train).reshape(-1, 1)
    expected = brute_force(n_train, sizes, rule)
    assert ours(kind(x, x, device="cpu"), n_train, sizes, rule) == expected
    length = Length(amount=len(sizes), n_train=n_train)
    assert steps_of(sizes, length, rule=rule) == [len(steps) for steps in expected]
    if len(set(sizes)) == 1:
        found = {len(step) for steps in expected for step in steps}
        assert found == sizes_of_steps(sizes[0], n_train, rule=rule)
        assert rule == RAGGED or found == {min(sizes[0], n_train)}


@pytest.mark.parametrize(("n_train", "size"), [(1026, 512), (1001, 8), (65, 64), (10, 7)])
def test_every_example_is_taken_as_often_as_any_other_but_for_the_last_rest(n_train, size):
    order, taken = Order(order_memory(n_train), seed=SEED), torch.zeros(n_train, dtype=torch.int64)
    for _ in range(9):
        taken += torch.bincount(order.epoch(size), minlength=n_train)
    assert taken.max() == 9
    assert int((9 - taken).sum()) == 9 * n_train % size == order.n_left
    assert taken.min() >= 8


def seen_batches(objective: TaskObjective, **params: Any) -> list[list[int]]:
    """Sizes of the steps of each epoch."""
    feed, seen = objective._source.feed, []
    epoch = feed.epoch

    def watched(examples: Any, batch_size: int) -> Any:
        seen.append(sizes := [])
        for x, y in epoch(examples, batch_size):
            sizes.append(len(x))
            yield x, y

    objective._source.feed.epoch = watched  # type: ignore[method-assign]
    run = train(objective, **params)
    assert sum(map(len, seen)) == run.result().steps == run.result().total_steps
    return seen


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(micro_batch_sizes=(4, 4)),
        Recipe(rate_schedule="cosine", warmup_examples=50),
        Recipe(precisions=("bfloat16",)),
    ],
    ids=lambda recipe: recipe.stored,
)
def test_a_run_announces_and_takes_steps_of_the_batch_size_alone(recipe):
    objective = TaskObjective(made_task(), name="t", device="cpu", recipe=recipe)
    seen = seen_batches(objective, batch_size=48, epochs=4)  # of 100 examples
    assert seen == [[48] * 2, [48] * 2, [48] * 2, [48] * 2]
    seen = seen_batches(objective, batch_size=30, epochs=4)
    assert seen == [[30] * 3, [30] * 3, [30] * 4, [30] * 3]


def test_a_run_that_grows_carries_the_rest_into_the_larger_batches():
    recipe = Recipe(schedule="doubling")
    objective = TaskObjective(made_task(), name="t", device="cpu", recipe=recipe)
    seen = seen_batches(objective, batch_size=24, epochs=4)
    assert seen == [[24] * 4, [24] * 4, [48] * 2, [96]]
    phases = train(objective, batch_size=24, epochs=4).result().phases
    assert [(phase.batch_size, phase.steps) for phase in phases] == [(24, 8), (48, 2), (96, 1)]


def test_the_older_rule_ends_every_epoch_with_what_is_left():
    objective = TaskObjective(made_task(), name="t", device="cpu", batches=RAGGED)
    assert seen_batches(objective, batch_size=48, epochs=2) == [[48, 48, 4]] * 2
    assert rule_in(objective.fingerprint) == RAGGED
    assert rule_in(TaskObjective(made_task(), name="t", device="cpu").fingerprint) == EXACT
    with pytest.raises(ObjectiveError, match="batches are 'odd', wanted exact or ragged"):
        TaskObjective(made_task(), name="t", device="cpu", batches="odd")


def kept_of(objective: Any, run: Run) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    run.keep = lambda state: kept.append(through_a_file(state))
    carry_out(objective, replace(PARAMS, epochs=4), run)
    return kept


def test_a_checkpoint_of_the_older_rule_goes_on_by_it():
    older = TaskObjective(made_task(), name="t", device="cpu", batches=RAGGED)
    newer = TaskObjective(made_task(), name="t", device="cpu")
    whole = kept_of(older, first := Run())
    assert isinstance(whole[0]["loop"]["order"], torch.Tensor), "as older versions keep it"
    resumed = Run()
    resumed.restore(whole[1])
    again = kept_of(newer, resumed)
    assert timeless(resumed.result()) == timeless(first.result())
    assert_same_weights(again[-1], whole[-1])


def normed(n: int = 65) -> Any:
    return made_task(
        data=lambda: made_data((n, 30, 30)),
        model=lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)),
    )


def test_batch_norm_never_meets_a_single_example_left_over():
    objective = TaskObjective(normed(), name="t", device="cpu")
    for size in (2, 8, 64):  # all leave one over
        assert train(objective, batch_size=size).result().verdict == "completed"


def test_batch_size_1_is_cut_where_batch_norm_cannot_take_it_and_that_is_said():
    objective = TaskObjective(normed(), name="t", device="cpu")
    assert objective.batch_sizes == (2, 65)
    said = "batch norm has no variance in one example: batch sizes begin at 2"
    assert objective.why_least == said
    older = TaskObjective(normed(), name="t", device="cpu", batches=RAGGED)
    assert (older.batch_sizes, older.why_least) == ((1, 65), "")
    recipe = Recipe(micro_batch_sizes=(1, 8))
    with pytest.raises(ObjectiveError, match="leave batch norm no variance: choose 2 or more"):
        TaskObjective(normed(), name="t", device="cpu", recipe=recipe)


def test_batch_size_1_stays_where_one_example_has_a_variance():
    def images() -> Data:
        data = made_data((9, 3, 3), n_features=16)
        shaped = {k: v.reshape(-1, 1, 4, 4) if k[0] == "x" else v for k, v in vars(data).items()}
        return Data(**shaped)

    def model() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))

    objective = TaskObjective(made_task(data=images, model=model), name="t", device="cpu")
    assert (objective.batch_sizes, objective.why_least) == ((1, 9), "")
    assert train(objective, batch_size=1).result().verdict == "completed"


def test_a_shuffle_takes_no_memory_of_a_run():
    """What is left over and the next order lie in memory that was there before."""
    order, feed = (
        Order(order_memory(100), seed=0),
        ResidentFeed(*[torch.zeros(100)] * 2, device="cpu"),
    )
    with Run() as run:
        for _ in range(3):
            assert list(feed.epoch(order.epoch(64), 64))
    assert run._meter.peak_bytes == 0
