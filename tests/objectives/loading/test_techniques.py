"""Techniques and probes on datasets, streams and loaders."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.gradients.noise_scale import measure_per_example, measure_two_sizes
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.probes.cost import probe
from batchfront.objectives.probes.lr_range import range_test
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import Recipe
from tests.objectives.conftest import ready, train
from tests.objectives.loading.people import Named, forward, loaders, noisy, streams, task_of

FORMS: dict[str, Any] = {
    "pairs": lambda: task_of(noisy(num_workers=1)),
    "dicts": lambda: task_of(noisy(Named), forward=forward),
    "stream": lambda: task_of(streams()),
    "loaders": lambda: task_of(loaders=loaders),
}
PARAMS = TrialParams(batch_size=8, learning_rate=0.05, epochs=4, seed=7, device="cpu")


def by(form: str, **recipe: Any) -> TaskObjective:
    return TaskObjective(FORMS[form](), name="t", device="cpu", recipe=Recipe(**recipe))


@pytest.mark.parametrize("form", FORMS)
def test_a_probe_tells_the_wait_apart(form):
    cost = probe(by(form), PARAMS, metric="accuracy", seconds=0.02)
    assert 0 < cost.step_seconds < 1
    assert 0 < cost.data_wait_share < 1


@pytest.mark.parametrize("form", FORMS)
def test_a_range_test_needs_nothing_but_batches(form):
    found = range_test(by(form), batch_size=8, n_steps=60, device="cpu")
    assert found.losses[0] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "schedule"),
    [*((form, "doubling") for form in FORMS), ("pairs", "noise-scale"), ("dicts", "noise-scale")],
)
def test_the_batch_size_grows(form, schedule):
    measured = train(by(form, schedule=schedule), batch_size=2, epochs=8).result()
    assert measured.steps == measured.total_steps == sum(p.steps for p in measured.phases)
    assert schedule != "doubling" or [p.batch_size for p in measured.phases] == [2, 4, 8, 16]


@pytest.mark.parametrize("form", ["pairs", "dicts"])
def test_the_noise_scale_is_measured_example_by_example(form):
    objective = by(form)
    torch.manual_seed(0)
    gradients = objective.gradients(objective.task.model())
    assert gradients.coupled() == ""
    given: dict[str, Any] = {"n_draws": 20, "watch": lambda done: None}
    each, both = (
        sum(draw.trace for draw in measure(gradients, generator=torch.Generator(), **given))
        for measure in (measure_per_example, measure_two_sizes)
    )
    assert each == pytest.approx(both, rel=0.5)


@pytest.mark.parametrize("form", ["stream", "loaders"])
def test_what_has_no_index_says_so_where_one_is_needed(form):
    objective = by(form)
    with pytest.raises(ObjectiveError, match="draw examples by their index"):
        objective.gradients(objective.task.model())
    with pytest.raises(ObjectiveError, match="--schedule noise-scale"):
        by(form, schedule="noise-scale")
    params = {"diagnostics": ("distance", "sharpness")}
    measured = train(objective, **params).result()
    assert (measured.distance_from_init or 0) > 0
    assert measured.sharpness is None


def test_sharpness_is_that_of_the_datasets_examples():
    measured = train(by("dicts"), diagnostics=("sharpness",)).result()
    assert (measured.sharpness or 0) > 0


@pytest.mark.parametrize("form", ["pairs", "dicts", "loaders"])
def test_precision_rates_and_early_metrics_are_as_with_tensors(form):
    recipe = {"precisions": ("bfloat16",), "rate_schedule": "cosine", "warmup_examples": 20}
    measured = train(by(form, **recipe)).result()
    assert measured.techniques["precision"] == "bfloat16"
    assert measured.metric_curve[-1] >= 0.35


def test_loaders_make_no_parts_for_ranks():
    with pytest.raises(ObjectiveError, match="--data-parallel needs to choose"):
        by("loaders", data_parallel=2)
    assert ready(FORMS["loaders"]()).batch_sizes == (1, 50)


class Graph:
    """A batch that nobody but its author can cut."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def to(self, device: str) -> Graph:
        return Graph(self.x.to(device), self.y.to(device))


def graphs(examples: list[Any]) -> Any:
    x, y = torch.utils.data.default_collate(examples)
    return Graph(x.T, y)


def cut_graph(batch: Graph, start: int, stop: int) -> Graph:
    return Graph(batch.x[:, start:stop], batch.y[start:stop])


def test_a_batch_of_ones_own_class_is_cut_by_split():
    changes: dict[str, Any] = {
        "forward": lambda model, batch: (model(batch.x.T), batch.y),
        "model": lambda: nn.Linear(5, 3),
    }
    plain = train(ready(task_of(noisy(), model=changes["model"]))).result()
    whole = train(ready(task_of(noisy(collate_fn=graphs), **changes))).result()
    assert whole.metric_curve == plain.metric_curve
    recipe = Recipe(micro_batch_sizes=(4, 4))
    task = task_of(noisy(collate_fn=graphs), split=cut_graph, **changes)
    parts = train(TaskObjective(task, name="p", device="cpu", recipe=recipe)).result()
    assert parts.train_loss == pytest.approx(plain.train_loss, rel=1e-4)


def test_only_pairs_of_tensors_are_compiled():
    with pytest.raises(ObjectiveError, match="pairs of tensors"):
        TaskObjective(FORMS["dicts"](), name="t", device="cpu", compiled=True)
