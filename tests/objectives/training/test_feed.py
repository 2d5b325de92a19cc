"""Batches are the same whether data is resident or comes from a DataLoader."""

from __future__ import annotations

import torch

from batchfront.objectives.load import load_objective
from batchfront.objectives.training.feed import LoaderFeed, ResidentFeed, make_feed
from tests.objectives.conftest import train

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
