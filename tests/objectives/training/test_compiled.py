"""The compiled step against the ordinary one."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.meters.memory import AllocatorMeter, CpuMeter
from batchfront.objectives.probes.cost import probe
from batchfront.objectives.task import Task
from batchfront.objectives.training.objective import TaskObjective
from tests.objectives.conftest import made_regression, made_task, train
from tests.objectives.probes.test_probe import params

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": partial(torch.optim.AdamW, betas=(0.8, 0.99), weight_decay=0.1),
}


def compiled(task: Task) -> TaskObjective:
    return TaskObjective(task, name=task.name, device="cpu", compiled=True)


@pytest.fixture(autouse=True, scope="module")
def _no_graphs_of_other_tests():
    """torch gives up on a function that it has compiled too often in one process."""
    torch.compiler.reset()


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "adamw")]
)
def pair(request) -> tuple[TaskObjective, TaskObjective]:
    """A regression, compiled and ordinary; batches of 9 and 33 leave a last one of one example."""
    torch.compiler.reset()
    task = made_regression(optimizer=OPTIMIZERS[request.param])
    return compiled(task), TaskObjective(task, name=task.name, device="cpu")


@pytest.mark.parametrize("batch_size", [1, 9, 64])
@pytest.mark.parametrize("learning_rate", [1e-3, 2e-4])
def test_a_compiled_run_follows_the_ordinary_one(pair, batch_size, learning_rate):
    found, expected = (
        train(o, batch_size=batch_size, learning_rate=learning_rate).result() for o in pair
    )
    assert found.metric_curve == pytest.approx(expected.metric_curve, rel=1e-3, abs=1e-4)
    assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-3)
    assert (found.steps, found.total_steps) == (expected.steps, expected.total_steps)


def test_one_graph_serves_every_size_and_rate_of_a_process(pair):
    objective, _ = pair
    train(objective, batch_size=1)
    graphs = counters["stats"]["unique_graphs"]
    with torch._dynamo.config.patch(error_on_recompile=True):
        for batch_size, rate in [(2, 0.1), (7, 0.01), (33, 0.02), (100, 0.03), (1, 0.04)]:
            assert train(objective, batch_size=batch_size, learning_rate=rate).result().steps
    assert counters["stats"]["unique_graphs"] == graphs > 0


def test_a_compiled_run_repeats_bit_for_bit(pair):
    first, second = (train(pair[0], batch_size=7).result() for _ in range(2))
    assert first.metric_curve == second.metric_curve
    assert first.train_loss == second.train_loss


def test_the_prediction_is_an_upper_bound_for_a_compiled_step(pair):
    for batch_size in (32, 100):
        cost = probe(
            pair[0],
            params(batch_size=batch_size),
            metric="val_r2",
            seconds=0.01,
            compiled=True,
        )
        predicted = pair[0].predict_peak_bytes(batch_size)
        assert 0.5 * predicted < cost.peak_memory_bytes < 1.05 * predicted


def test_the_allocators_meter_agrees_with_the_operators_and_leaves_out_pauses(capfd):
    peaks = []
    for meter in (AllocatorMeter(), CpuMeter()):
        meter.start()
        kept = torch.ones(1000)
        meter.pause()
        torch.ones(50_000)
        meter.resume()
        torch.ones(2000) + torch.ones(2000)
        meter.stop()
        meter.stop()
        peaks.append(meter.peak_bytes)
        del kept
    assert peaks == [4 * 7000, 4 * 7000]
    assert capfd.readouterr().err == ""


class Branching(nn.Linear):
    def forward(self, x):
        return super().forward(x) if float(x.sum()) > 0 else super().forward(2 * x)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model": lambda: nn.Sequential(nn.Dropout(0.1), nn.Linear(5, 3))}, "random numbers"),
        ({"model": lambda: nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))}, "refused"),
        ({"model": lambda: Branching(5, 3)}, "does not compile"),
        ({"optimizer": torch.optim.RMSprop}, "cannot put this RMSprop into a graph"),
        ({"optimizer": partial(torch.optim.SGD, momentum=0.9, dampening=0.5)}, "dampening"),
        ({"optimizer": partial(torch.optim.Adam, amsgrad=True)}, "amsgrad"),
    ],
    ids=["dropout", "batch norm", "control flow", "rmsprop", "dampening", "amsgrad"],
)
def test_what_a_compiled_step_would_change_is_refused(change, why):
    with pytest.raises(ObjectiveError, match=why) as refused:
        compiled(made_task(**change))
    assert "run without" in str(refused.value)


def test_a_loop_of_your_own_is_not_compiled(tmp_path):
    (tmp_path / "own.py").write_text("def objective(params, run): pass")
    with pytest.raises(ObjectiveError, match="a training loop of your own"):
        load_objective(str(tmp_path / "own.py"), device="cpu", compiled=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_cuda_graphs_follow_the_ordinary_step(optimizer):
    task = made_regression(optimizer=OPTIMIZERS[optimizer])
    found, expected = (
        train(TaskObjective(task, name="made", device="cuda", compiled=c), device="cuda").result()
        for c in (True, False)
    )
    assert found.metric_curve == pytest.approx(expected.metric_curve, rel=1e-3, abs=1e-4)
