"""Batches are the same whether data is resident or comes from a DataLoader."""

from __future__ import annotations

import pytest
import torch

from batchfront.objectives.load import load_objective
from batchfront.objectives.training.feed import LoaderFeed, ResidentFeed, make_feed
from tests.objectives.conftest import train

X, Y = torch.arange(20.0).reshape(10, 2), torch.arange(10)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 16])
def test_both_feeds_give_every_example_once_in_the_same_order(batch_size):
    epochs = []
    for kind in (ResidentFeed, LoaderFeed):
        feed, order = kind(X, Y, device="cpu"), torch.Generator().manual_seed(1)
        batches = [[(x.clone(), y.clone()) for x, y in feed.epoch(batch_size, order)] for _ in "ab"]
        epochs.append([(x.tolist(), y.tolist()) for epoch in batches for x, y in epoch])
    assert epochs[0] == epochs[1]
    n = -(-10 // batch_size)
    first, second = epochs[0][:n], epochs[0][n:]
    assert sorted(i for _, y in first for i in y) == list(range(10))
    assert all(len(y) == batch_size for _, y in first[:-1])
    if batch_size < 10:
        assert first != second, "a new order each epoch"


def test_data_too_large_for_the_device_is_fed_by_a_loader(monkeypatch):
    n_bytes = 2 * (X.nbytes + Y.nbytes)
    monkeypatch.setattr(
        "batchfront.objectives.training.feed.device_memory_bytes", lambda device: 2 * n_bytes
    )
    assert isinstance(make_feed(X, Y, device="cpu"), ResidentFeed)
    monkeypatch.setattr(
        "batchfront.objectives.training.feed.device_memory_bytes", lambda device: 2 * n_bytes - 1
    )
    assert isinstance(make_feed(X, Y, device="cpu"), LoaderFeed)


def test_a_run_fed_by_a_loader_is_bitwise_the_same(digits, monkeypatch):
    resident = train(digits, batch_size=64).result()
    monkeypatch.setattr("batchfront.objectives.training.feed.device_memory_bytes", lambda device: 0)
    loader = train(load_objective("digits", device="cpu"), batch_size=64).result()
    assert loader.metric_curve == resident.metric_curve
    assert loader.train_loss == resident.train_loss
