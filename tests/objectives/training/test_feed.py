"""Batches are the same whether data is resident or comes from a DataLoader."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.load import load_objective
from batchfront.objectives.training.feed import LoaderFeed, ResidentFeed, make_feed
from batchfront.objectives.training.sources import InMemory
from batchfront.objectives.training.warm import warm_recurrent
from tests.objectives.conftest import made_data, made_task, ready, train

X, Y = torch.arange(20.0).reshape(10, 2), torch.arange(10)


def test_data_too_large_for_the_device_is_fed_by_a_loader(monkeypatch):
    n_bytes = 2 * (X.nbytes + Y.nbytes)
    monkeypatch.setattr(
        "batchfront.objectives.training.feed.usable_memory_bytes", lambda device: 2 * n_bytes
    )
    assert isinstance(make_feed(X, Y, device="cpu"), ResidentFeed)
    monkeypatch.setattr(
        "batchfront.objectives.training.feed.usable_memory_bytes", lambda device: 2 * n_bytes - 1
    )
    assert isinstance(make_feed(X, Y, device="cpu"), LoaderFeed)


def test_a_run_fed_by_a_loader_is_bitwise_the_same(digits, monkeypatch):
    resident = train(digits, batch_size=64).result()
    monkeypatch.setattr("batchfront.objectives.training.feed.usable_memory_bytes", lambda device: 0)
    loader = train(load_objective("digits", device="cpu"), batch_size=64).result()
    assert loader.metric_curve == resident.metric_curve
    assert loader.train_loss == resident.train_loss


def test_data_that_others_leave_no_room_for_is_fed_by_a_loader(monkeypatch):
    def full(*args: object, **named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("batchfront.objectives.training.feed.ResidentFeed", full)
    assert isinstance(make_feed(X, Y, device="cpu"), LoaderFeed)


def test_a_launcher_takes_its_data_off_the_device_and_can_train_again(digits):
    before = train(digits, batch_size=64).result()
    digits.leave_device()
    assert digits._source._feed is None
    assert train(digits, batch_size=64).result().metric_curve == before.metric_curve


def wide_task() -> Any:
    """Its batches are larger than all that a step makes of them."""
    return made_task(
        data=lambda: made_data(n_features=2000),
        model=lambda: nn.Linear(2000, 3),
        optimizer=torch.optim.SGD,
    )


@pytest.mark.parametrize("task", [wide_task, made_task])
@pytest.mark.parametrize("scheduled", [False, True], ids=["", "scheduler"])
def test_peaks_are_the_same_wherever_the_data_lies_and_as_predicted(task, scheduled, monkeypatch):
    changes = {}
    if scheduled:
        changes["scheduler"] = lambda optimizer, n: torch.optim.lr_scheduler.LinearLR(optimizer)
    objective = ready(replace(task(), **changes))
    resident = train(objective, batch_size=20).result().peak_memory_bytes
    monkeypatch.setattr("batchfront.objectives.training.feed.usable_memory_bytes", lambda device: 0)
    loader = ready(replace(task(), **changes))
    assert isinstance(loader._source.feed, LoaderFeed)
    assert train(loader, batch_size=20).result().peak_memory_bytes == resident
    guard = torch.tensor(0.0).nbytes  # holds the running sum of the loss, in a run of many steps
    assert resident - loader.predict_peak_bytes(20) in (0, guard)


def on_meta(monkeypatch: pytest.MonkeyPatch, *, free: int) -> InMemory:
    """The data of a task on a device that is not the CPU."""
    monkeypatch.setattr(
        "batchfront.objectives.training.feed.usable_memory_bytes", lambda device: free
    )
    return InMemory(made_task(), name="made", device="meta")


def where(source: InMemory) -> tuple[str, str]:
    return source.train.x.device.type, source.val.x.device.type


def test_what_is_scored_after_epochs_lies_on_the_device_where_it_fits(monkeypatch):
    source = on_meta(monkeypatch, free=10**9)
    assert where(source) == ("meta", "meta")
    assert source.few.x.device.type == "cpu"
    source.leave_device()
    assert where(source) == ("cpu", "cpu")
    assert not source.makes_batches, "it moves there again"
    assert where(source) == ("meta", "meta")
    assert where(on_meta(monkeypatch, free=0)) == ("cpu", "cpu")


def test_a_validation_split_that_does_not_fit_stays_in_host_memory(monkeypatch):
    """Much larger than what is trained on."""
    data = made_data((10, 3000, 10))
    monkeypatch.setattr(
        "batchfront.objectives.training.feed.usable_memory_bytes",
        lambda device: 4 * (data.x_train.nbytes + data.y_train.nbytes),
    )
    source = InMemory(made_task(data=lambda: data), name="made", device="meta")
    assert where(source) == ("meta", "cpu")


def test_recurrent_layers_are_warmed_before_any_meter_looks(monkeypatch):
    warmed: list[tuple[int, float]] = []

    class Seen(nn.LSTM):
        def forward(self, *args: Any) -> Any:
            warmed.append((self.num_layers, self.dropout))
            return super().forward(*args)

    monkeypatch.setattr(nn, "LSTM", Seen)
    plain, recurrent = nn.Linear(3, 4), nn.Sequential(nn.GRU(3, 4, num_layers=2, dropout=0.2))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    for model, device in ((plain, "meta"), (recurrent, "cpu"), (recurrent, "meta")):
        warm_recurrent(model, device=device)
    assert warmed == [(2, 0.5)], "between its layers, which is where dropout is"
    assert torch.equal(torch.rand(1), expected)
