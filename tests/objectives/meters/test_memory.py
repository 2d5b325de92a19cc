"""The meter against the CPU allocator's own record of what it gave and took back."""

from __future__ import annotations

import gc
import importlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from batchfront.objectives.meters.accelerator import AcceleratorMeter
from batchfront.objectives.meters.memory import AllocatorMeter, CpuMeter, memory_meter
from batchfront.objectives.meters.metering import FirstSteps
from batchfront.objectives.run import Run
from tests.objectives.conftest import made_data, made_task, ready, train

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


def many(n: int, n_features: int = 4) -> Any:
    """The same small model and batch, whatever the number of examples."""
    return ready(
        made_task(
            data=lambda: made_data((n, 30, 30), n_features=n_features),
            model=lambda: nn.Linear(n_features, 3),
            optimizer=torch.optim.SGD,
        )
    )


@pytest.mark.parametrize("feed", ["resident", "loader"])
def test_the_number_of_examples_is_not_counted(feed, monkeypatch):
    if feed == "loader":
        monkeypatch.setattr("batchfront.objectives.training.feed.RESIDENT_SHARE", 0.0)
    peaks = [peak_of(many(n), batch_size=16) for n in (500, 5_000, 50_000)]
    guard = torch.tensor(0.0).nbytes  # holds the running sum of the loss, in a run of many steps
    assert max(peaks) - min(peaks) <= guard
    assert max(peaks) < 8 * 500


def test_evaluation_has_a_peak_of_its_own_above_what_training_keeps():
    """400 validation examples, hidden layers of 256: one forward pass, far above a batch of 4."""
    task = made_task(
        data=lambda: made_data((200, 400, 30)),
        model=lambda: nn.Sequential(nn.Linear(5, 256), nn.ReLU(), nn.Linear(256, 3)),
    )
    objective = ready(task)
    small, large = (train(objective, batch_size=size, epochs=2).result() for size in (4, 200))
    hidden, parameters = 400 * 256 * 4, (6 * 256 + 257 * 3) * 4
    for result in (small, large):  # parameters, gradients and momenta live on, whatever the batch
        extra = result.evaluation_peak_bytes - 3 * parameters - 2 * hidden
        assert 0 <= extra < 0.1 * hidden
    assert 10 * small.peak_memory_bytes < small.evaluation_peak_bytes
    assert small.peak_memory_bytes < large.peak_memory_bytes


class Hooked(nn.Module):
    """Its forward hook is its own method: a reference cycle."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(500, 500)
        self.linear.register_forward_hook(self._seen)

    def _seen(self, *args: Any) -> None:
        pass


CARD, BLOCK = 2**40, 1000  # bytes: of a card, and of what an allocator takes from it at once


class FakeAllocator:
    """The statistics of a caching allocator, without a device."""

    def __init__(self) -> None:
        self.live = self.high = self.reserved = self.most = 0
        self.context = 0

    def use(self, change: int) -> None:
        self.live += change
        self.high = max(self.high, self.live)
        self.reserved = max(self.reserved, -(-self.live // BLOCK) * BLOCK)
        self.most = max(self.most, self.reserved)

    def reset(self, device: str) -> None:
        self.high, self.most = self.live, self.reserved

    def empty(self) -> None:
        self.reserved = -(-self.live // BLOCK) * BLOCK

    def info(self, device: str) -> tuple[int, int]:
        return CARD - self.reserved - self.context, CARD


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> FakeAllocator:
    fake_one = FakeAllocator()
    for name, fake in {
        "synchronize": lambda device: None,
        "memory_allocated": lambda device: fake_one.live,
        "max_memory_allocated": lambda device: fake_one.high,
        "reset_peak_memory_stats": fake_one.reset,
        "memory_reserved": lambda device: fake_one.reserved,
        "max_memory_reserved": lambda device: fake_one.most,
        "empty_cache": fake_one.empty,
        "get_memory_info": fake_one.info,
    }.items():
        monkeypatch.setattr(torch.accelerator, name, fake)
    return fake_one


@pytest.mark.parametrize("collects", [True, False])
def test_a_dead_model_in_a_cycle_is_gone_before_an_accelerators_baseline(allocator, collects):
    """It dies while the next model is built, after the baseline: then bytes would be missing."""
    gc.collect()
    gc.disable()
    try:
        dead = Hooked()
        allocator.use(1000)
        weakref.finalize(dead, allocator.use, -1000)
        del dead
        assert allocator.live == 1000
        meter = AcceleratorMeter("cpu")
        if collects:
            meter.start()
            assert allocator.live == 0
        else:  # what the device holds besides is let go of, too, where nothing is measured
            with Run(device="meta", measure_memory=False):
                assert allocator.live == 0
        allocator.use(700)
        if collects:
            meter.stop()
            assert meter.peak_bytes == 700
    finally:
        gc.enable()


def test_a_dead_model_in_a_cycle_is_gone_before_a_compiled_runs_baseline():
    gc.collect()
    gc.disable()
    try:
        dead = Hooked()
        gone = weakref.ref(dead)
        del dead
        meter = AllocatorMeter()
        meter.start()
        assert gone() is None
        kept = torch.empty(MEGABYTE, dtype=torch.uint8)
        meter.stop()
        assert kept.nbytes <= meter.peak_bytes < 1.01 * MEGABYTE
    finally:
        gc.enable()


def test_an_accelerator_peak_is_above_what_was_there_and_outside_pauses(allocator):
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
    assert (meter.peak_bytes, meter.evaluation_peak_bytes) == (60, 750)


class NoClock:
    """Time is not looked at."""

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        pass


@pytest.mark.parametrize("makes_batches", [True, False])
def test_an_accelerators_peak_leaves_out_the_batches_that_a_loader_makes(
    allocator, makes_batches, monkeypatch
):
    """The same task on a card where its data fits, and on one where it does not."""
    batch, activations, model = 4_000, 500, 1_200
    run = Run(device="cpu")
    run._meter = FirstSteps(AcceleratorMeter("cpu"))
    monkeypatch.setattr(run, "_clock", NoClock())

    class Batch:
        def __init__(self) -> None:
            allocator.use(batch)
            weakref.finalize(self, allocator.use, -batch)

    made: Iterable[Any] = (Batch() for _ in range(20)) if makes_batches else range(20)
    with run:
        allocator.use(model)
        for x in run.unmetered(made):
            allocator.use(activations)
            allocator.use(-activations)
            del x
        with run.validating():
            allocator.use(3_000)
            allocator.use(-3_000)
        allocator.use(-model)
    assert run._meter.peak_bytes == model + activations
    assert run._meter.evaluation_peak_bytes == model + 3_000


def test_a_sparse_gradient_counts_its_indices_and_its_values():
    embedding = torch.nn.Embedding(1000, 8, sparse=True)
    with metered() as meter:
        embedding(torch.arange(100)).sum().backward()
        grad = embedding.weight.grad
    held = grad._indices().nbytes + grad._values().nbytes
    assert meter.peak_bytes >= held > 0


def test_an_accelerator_peak_is_known_before_the_first_pause(allocator):
    """Ranks that follow tell theirs while they train."""
    meter = AcceleratorMeter("cpu")
    meter.start()
    allocator.use(80)
    allocator.use(-30)
    assert meter.peak_bytes == 80
    allocator.use(70)
    assert meter.peak_bytes == 120
    meter.stop()
    allocator.use(500)
    assert meter.peak_bytes == 120


def test_what_the_device_loses_is_data_blocks_and_context_beside_the_model(allocator):
    allocator.use(4_500)  # data
    allocator.use(9_000)
    allocator.use(-9_000)  # an earlier run's blocks, which stay with the allocator
    allocator.context = 300
    meter = AcceleratorMeter("cpu")
    meter.start()
    allocator.use(2_200)
    allocator.use(-2_000)
    meter.stop()
    assert meter.peak_bytes == 2_200
    assert meter.device_bytes == 7_000 + 300, "4,500 and 2,200 in blocks of 1,000"


def test_a_context_is_small_and_what_others_hold_beyond_it_is_theirs(allocator):
    for held, counted in ((0, 0), (5 * 10**8, 5 * 10**8), (80 * 2**30, 2**30)):
        allocator.context = held
        meter = AcceleratorMeter("cpu")
        meter.start()
        allocator.use(10)
        allocator.use(-10)
        meter.stop()
        assert meter.device_bytes == BLOCK + counted
    allocator.context = -10  # the driver and the allocator are read one after the other
    meter = AcceleratorMeter("cpu")
    meter.start()
    meter.stop()
    assert meter.device_bytes == 0


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        (300, 300),  # the driver tells processes apart
        (None, 900),  # it does not: those of two neighbours look the same
        (-7_000, 900),  # it tells of another process, which has this one's number elsewhere
    ],
)
def test_the_contexts_of_workers_beside_it_are_not_a_trials_own(
    allocator, monkeypatch, told, counted
):
    def own(device: str) -> int | None:
        return None if told is None else allocator.reserved + told

    monkeypatch.setattr("batchfront.objectives.meters.occupied.own_memory_bytes", own)
    allocator.context = 3 * 300
    meter = AcceleratorMeter("cpu")
    meter.start()
    allocator.use(1_500)
    allocator.use(-1_500)
    meter.stop()
    assert meter.device_bytes == 2_000 + counted


def test_blocks_that_an_evaluation_leaves_are_not_training(allocator):
    meter = AcceleratorMeter("cpu")
    meter.start()
    allocator.use(1_500)
    meter.pause()
    allocator.use(50_000)
    allocator.use(-50_000)
    meter.resume()
    allocator.use(500)
    meter.stop()
    assert (meter.peak_bytes, meter.evaluation_peak_bytes) == (2_000, 51_500)
    assert meter.device_bytes == 2_000


def test_blocks_that_are_left_of_what_was_compiled_before_a_run_are_not_its_own(allocator):
    meter = AcceleratorMeter("cpu")
    meter.start()
    meter.pause()
    allocator.use(50_000)
    allocator.use(-50_000)
    meter.resume()
    allocator.use(1_500)
    meter.stop()
    assert meter.device_bytes == 2_000


def test_a_cpu_has_no_figure_for_its_device(digits):
    assert train(digits, epochs=1).result().device_memory_bytes is None


def test_a_compiled_step_records_its_graph_anew_for_every_measured_run(allocator, monkeypatch):
    """A graph of an earlier run would be replayed, which allocates nothing."""
    forgotten: list[int] = []

    def forget() -> None:
        allocator.use(-allocator.live)  # graphs and workspaces go
        forgotten.append(allocator.live)

    monkeypatch.setattr("batchfront.objectives.meters.accelerator._forget_graphs", forget)
    allocator.use(400)
    for _ in range(2):
        meter = memory_meter("cuda:0", compiled=True)
        meter.start()
        allocator.use(900)
        meter.stop()
        assert meter.peak_bytes == 900
    assert forgotten == [0, 0]


def test_torch_still_has_what_forgets_graphs():
    """On a build for CUDA the workspaces' call is there, too."""
    trees = importlib.import_module("torch._inductor.cudagraph_trees")
    assert callable(trees.reset_cudagraph_trees)
