"""Combinations of a task's own parameters that no probe knows: predicted, and refused unrun."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.length import Length
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.parameter import Parameter
from batchfront.objectives.training.recipe import Recipe
from batchfront.study.cli.main import main
from batchfront.study.opening.planned import new_plan
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.limits import Limits
from batchfront.study.plan.settings import StudySettings
from batchfront.study.probes.combinations import Foresight
from batchfront.study.probes.prober import Prober
from tests.objectives.conftest import made_data, made_task, ready, train

pytestmark = pytest.mark.usefixtures("journal")
WIDTH = Parameter(low=8, high=512, log=True, usual=32)


def mlp(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 3)
    )


def cnn(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * width, 3),
    )


MODELS = {"mlp": mlp, "cnn": cnn}
OPTIMIZERS: dict[str, Any] = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}


def objective_of(model: str, optimizer: str = "sgd") -> Any:
    return ready(
        made_task(
            data=lambda: made_data((200, 30, 30), n_features=16),
            model=MODELS[model],
            optimizer=OPTIMIZERS[optimizer],
            search={"width": WIDTH},
        )
    )


def foresight_of(objective: Any, sizes: tuple[int, ...]) -> tuple[Foresight, Any]:
    """As a study has it, whose sizes were probed at the usual width; and their costs."""
    costs = Prober(objective, length=Length(amount=2), device="cpu", rate=1e-4).sizes(sizes)
    plan = new_plan(StudySettings(batch_sizes=sizes), objective, "made", "cpu")
    return Foresight(objective, plan), costs


def params(size: int, width: int) -> TrialParams:
    return TrialParams(
        batch_size=size, learning_rate=1e-3, epochs=2, seed=1, device="cpu", extra={"width": width}
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_every_combination_is_predicted_as_it_is_measured(model, optimizer):
    objective = objective_of(model, optimizer)
    foresight, costs = foresight_of(objective, (8, 64))
    for size in (8, 64):
        for width in (8, 64, 512):
            run = train(objective, batch_size=size, epochs=1, extra={"width": width})
            measured = run.result().peak_memory_bytes
            predicted = foresight.peak_bytes(params(size, width), costs)
            assert predicted == pytest.approx(measured, rel=0.01), (size, width)


def test_a_recipe_whose_values_are_searched_is_predicted_for_each():
    """The micro-batch bounds activations, whatever the batch."""
    recipe = Recipe(micro_batch_sizes=(16, 512))
    objective = load_objective("digits", device="cpu", recipe=recipe)
    ((name, parameter),) = objective.search.items()
    ends = parameter.choices or (parameter.low, parameter.high)
    small, large = (objective.predict_peak_bytes(512, {name: end}) for end in ends)
    assert small < large == load_objective("digits", device="cpu").predict_peak_bytes(512)


def limits(costs: Any, **budgets: Any) -> Limits:
    return Limits(costs=costs, budgets=Budgets(**budgets), failed_size=None, device_bytes=10**12)


def test_what_does_not_fit_or_breaks_the_budget_is_excused_with_its_figure(monkeypatch):
    foresight, costs = foresight_of(objective_of("mlp"), (8, 64))
    wide = foresight.peak_bytes(params(64, 512), costs)
    assert foresight.excuse(params(64, 512), limits(costs)) is None
    for free, verdict in ((wide / 0.89, None), (wide / 0.91, "out_of_memory")):
        monkeypatch.setattr(
            "batchfront.study.probes.combinations.usable_memory_bytes", lambda device, n=free: n
        )
        excuse = foresight.excuse(params(64, 512), limits(costs))
        assert (excuse and excuse.verdict.value) == verdict
    assert excuse.memory_bytes == wide
    assert excuse.grade > 4
    assert "predicted to take" in excuse.reason
    monkeypatch.undo()
    most = int(wide / 2)
    over = foresight.excuse(params(64, 512), limits(costs, max_memory_bytes=most))
    assert over.verdict.value == "over_budget"
    assert foresight.excuse(params(8, 8), limits(costs, max_memory_bytes=most)) is None
    nearly = limits(costs, max_memory_bytes=int(0.95 * wide))
    assert foresight.excuse(params(64, 512), nearly) is None, "a run tells better"


def test_a_budget_on_a_device_counts_what_lies_beyond_the_peak():
    foresight, costs = foresight_of(objective_of("mlp"), (8, 64))
    wide = foresight.peak_bytes(params(64, 512), costs)
    beyond = {
        size: replace(cost, device_memory_bytes=cost.peak_memory_bytes + 10 * wide)
        for size, cost in costs.items()
    }
    most = {"max_memory_bytes": 2 * wide}
    assert foresight.excuse(params(64, 512), limits(costs, **most)) is None
    assert foresight.excuse(params(64, 512), limits(beyond, **most)) is not None
    assert foresight.excuse(params(64, 512), limits(beyond, **most, of_device=False)) is None


WIDE = """
    import torch
    from torch import nn
    from torch._subclasses.fake_tensor import FakeTensor

    from batchfront import Data, Parameter, Task

    class Net(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.width, self.layers = width, nn.Sequential(nn.Linear(8, width), nn.Linear(width, 2))

        def forward(self, x):
            if not isinstance(x, FakeTensor):
                open("ran", "a").write(f"{self.width}\\n")
            return self.layers(x)

    def data():
        x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
        y = (x[:, 0] > 0).long()
        return Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)

    task = Task(
        name="wide", data=data, model=Net, loss=nn.functional.cross_entropy,
        optimizer=torch.optim.SGD, epochs=2,
        search={"width": Parameter(low=16, high=4096, log=True, usual=64)},
    )
"""


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "cost-aware"])
def test_a_combination_that_cannot_fit_is_never_run(write_task, rows, monkeypatch, sampler):
    free = 200_000  # bytes: a width of about 1000 takes it
    for module in ("prober", "combinations"):
        monkeypatch.setattr(
            f"batchfront.study.probes.{module}.usable_memory_bytes", lambda device: free
        )
    argv = ["run", "--task", write_task(WIDE), "--batch-sizes", "4:16", "--sampler", sampler]
    assert main([*argv, "--n-trials", "12"]) == 0
    exported = rows("export")
    refused = [row for row in exported if row["predicted"]]
    ran = [row for row in exported if not row["predicted"]]
    assert len(ran) == 12, "what was refused does not count"
    assert refused or sampler == "cost-aware"
    for row in refused:
        assert (row["state"], row["verdict"]) == ("PRUNED", "out_of_memory")
        assert row["peak_memory_bytes"] > 0.9 * free
        assert "predicted to take" in row["reason"]
    assert all(row["peak_memory_bytes"] <= free for row in ran)
    with open("ran") as file:
        widths = {int(line) for line in file}
    assert widths >= {row["width"] for row in ran}
    assert not widths & {row["width"] for row in refused}
    if sampler == "cost-aware":
        assert len(refused) < 12, "it learns where there is no memory"
