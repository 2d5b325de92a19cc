"""The meter against the CPU allocator's own record of what it gave and took back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from batchfront.objectives.meters.memory import AcceleratorMeter, CpuMeter
from tests.objectives.conftest import train

MEGABYTE = 2**20


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd-momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True),
    "adam": partial(torch.optim.Adam, lr=0.01, fused=True),
    "adam-loop": partial(torch.optim.Adam, lr=0.01, foreach=False),
}


def two_steps(
    model_of: Callable[[], nn.Module], optimizer_of: Any, x: torch.Tensor, y: torch.Tensor
) -> None:
    model = model_of()
    optimizer = optimizer_of(model.parameters())
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model(x), y).backward()
        optimizer.step()


@contextmanager
def metered() -> Iterator[CpuMeter]:
    meter = CpuMeter()
    meter.start()
    try:
        yield meter
    finally:
        meter.stop()


def allocator_peak(work: Callable[[], None]) -> int:
    """High-water mark of the allocator's events while `work` runs."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize("batch_size", [8, 64, 256])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("model", "tolerance"),
    [
        # A meter of whole operators misses only scalars that C++ makes for itself (some bytes).
        (mlp, 0.001),
        # Convolutions also use scratch memory inside the operator: 4% at 8, 0.5% at 256.
        (cnn, 0.06),
    ],
    ids=["mlp", "cnn"],
)
def test_the_peak_is_that_of_the_cpu_allocator(model, tolerance, optimizer, batch_size):
    x, y = torch.randn(batch_size, 64), torch.randint(0, 10, (batch_size,))
    work = partial(two_steps, model, OPTIMIZERS[optimizer], x, y)
    work()  # oneDNN keeps what it makes at its first call
    with metered() as meter:
        work()
    expected = allocator_peak(work)
    assert expected * (1 - tolerance) <= meter.peak_bytes <= expected


def peak_of(digits: Any, **params: Any) -> int:
    return train(digits, **{"epochs": 1, **params}).result().peak_memory_bytes


def test_the_peak_of_a_run_is_the_same_every_time(digits):
    assert len({peak_of(digits, batch_size=32) for _ in range(5)}) == 1


def test_the_peak_depends_neither_on_the_learning_rate_nor_on_the_seed(digits):
    peaks = {
        peak_of(digits, batch_size=32, learning_rate=rate, seed=seed)
        for rate in (1e-4, 0.1)
        for seed in (1, 2)
    }
    assert len(peaks) == 1


def test_the_peak_grows_with_the_batch_by_its_activations(digits):
    peaks = [peak_of(digits, batch_size=size) for size in (1, 8, 64, 256, 512)]
    assert peaks == sorted(peaks)
    # Affine where activations decide: from 256 to 512 grows by 256 / 192 of 64 to 256.
    assert peaks[4] - peaks[3] == pytest.approx((peaks[3] - peaks[2]) * 256 / 192, rel=0.05)


@pytest.mark.parametrize("share", [0.6, 0.95, 1.0, 2.0])
def test_a_large_batch_is_measured_with_the_state_of_its_optimizer(digits, share):
    """Though step 2 may be the short last batch of the first epoch."""
    n = digits.batch_sizes[1]
    batch_size = int(share * n)
    x, y = torch.zeros(min(batch_size, n), 64), torch.zeros(min(batch_size, n), dtype=torch.int64)
    with metered() as meter:
        two_steps(mlp, OPTIMIZERS["sgd-momentum"], x, y)
    guard = torch.tensor(0.0).nbytes  # holds the running sum of the loss, in a run of many steps
    assert peak_of(digits, batch_size=batch_size, epochs=60) == meter.peak_bytes + guard


OLD = torch.ones(1000, 1000)


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: OLD.view(-1), 0),
        (lambda: OLD.t()[3:].split(100), 0),
        (lambda: OLD.detach().add_(1), 0),
        (lambda: torch.mul(OLD, 2, out=OLD), 0),
        (lambda: OLD.clone().view(-1)[5:], OLD.nbytes),
        (lambda: OLD.max(dim=0), 1000 * (4 + 8)),  # a tuple: values and int64 indices
        (lambda: torch._foreach_add([OLD, OLD], 1), 2 * OLD.nbytes),  # a list
        (lambda: [OLD.clone() for _ in range(3)], 3 * OLD.nbytes),
    ],
    ids=["view", "views", "in-place", "out", "view-of-new", "tuple", "list", "three-alive"],
)
def test_only_new_memory_counts(work, expected):
    with metered() as meter:
        kept = work()
    assert meter.peak_bytes == expected
    del kept


def test_memory_that_was_freed_is_not_counted_twice():
    with metered() as meter:
        for _ in range(10):
            torch.zeros(MEGABYTE, dtype=torch.uint8)
    assert meter.peak_bytes == MEGABYTE


def test_what_lives_on_after_a_pause_counts():
    with metered() as meter:
        meter.pause()
        kept = torch.zeros(MEGABYTE, dtype=torch.uint8)
        torch.zeros(9 * MEGABYTE, dtype=torch.uint8)
        assert meter.peak_bytes == 0
        meter.resume()
        assert meter.peak_bytes == kept.nbytes


def test_nothing_counts_after_the_end_and_stopping_twice_is_safe():
    with metered() as meter:
        torch.zeros(10)
        meter.stop()
        torch.zeros(MEGABYTE)
    assert meter.peak_bytes == 40


class FakeAllocator:
    """The statistics of a caching allocator, without a device."""

    def __init__(self) -> None:
        self.live = self.high = 0

    def use(self, change: int) -> None:
        self.live += change
        self.high = max(self.high, self.live)

    def reset(self, device: str) -> None:
        self.high = self.live


def test_an_accelerator_peak_is_above_what_was_there_and_outside_pauses(monkeypatch):
    allocator = FakeAllocator()
    for name, fake in {
        "synchronize": lambda device: None,
        "memory_allocated": lambda device: allocator.live,
        "max_memory_allocated": lambda device: allocator.high,
        "reset_peak_memory_stats": allocator.reset,
    }.items():
        monkeypatch.setattr(torch.accelerator, name, fake)
    allocator.use(10_000)
    allocator.use(-9_000)  # an earlier run's peak
    meter = AcceleratorMeter("cpu")
    meter.start()
    allocator.use(50)
    meter.pause()
    allocator.use(700)
    allocator.use(-700)
    meter.resume()
    allocator.use(10)
    meter.stop()
    meter.stop()
    assert meter.peak_bytes == 60
