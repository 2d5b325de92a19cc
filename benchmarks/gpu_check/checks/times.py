"""Told seconds against CUDA events around whole epochs of a plain loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks.gpu_check.bench import Bench
from benchmarks.gpu_check.rows import Row, judged

MODELS = ("mlp", "cnn", "transformer")
OFF = 0.05  # wanted; a run that is further off than a tenth is flagged in the study
FASTER = 0.4  # ours may be: a plain loop has no fused optimizer's settings of its own
N_EPOCHS = 5


def check(bench: Bench) -> Iterator[Row]:
    """Probed steps against a plain loop's, and runs against what their sizes are told."""
    sizes = (4, 32, 256) if bench.is_cuda else (4, 32)
    plain: list[tuple[float, str, int]] = []
    runs: list[tuple[float, str, int]] = []
    for name in MODELS if bench.is_cuda else MODELS[:1]:
        objective = bench.objective(name)
        costs = bench.prober(objective).sizes(sizes)
        for size in sizes:
            told = costs[size].step_seconds
            plain.append((told / _plain_step(bench, objective, size), name, size))
            found = bench.measured(objective, bench.params(size, epochs=6))
            runs.append((found.train_seconds / found.steps / told, name, size))
    low, high = min(plain), max(plain)
    yield judged(
        not bench.is_cuda or (low[0] > 1 - FASTER and high[0] < 1 + OFF),
        "probed step / a plain loop's (below 1: ours is faster)",
        _span(low, high),
    )
    low, high = min(runs), max(runs)
    yield judged(
        not bench.is_cuda or (low[0] > 1 - OFF and high[0] < 1 + OFF),
        "a run's own time / what its size is told",
        _span(low, high),
    )


def _span(low: tuple[float, str, int], high: tuple[float, str, int]) -> str:
    return " to ".join(f"{ratio:.2f} ({name} at {size})" for ratio, name, size in (low, high))


def _plain_step(bench: Bench, objective: Any, batch_size: int) -> float:
    """Median seconds of a step over some epochs, shuffle included."""
    import torch

    from batchfront.objectives.training.optimizer import build_optimizer

    task, data = objective.task, objective.task.data()
    x, y = data.x_train.to(bench.device), data.y_train.to(bench.device)
    model = task.model().to(bench.device).train()
    optimizer = build_optimizer(task, model, learning_rate=1e-3, device=bench.device)
    n_steps = len(x) // batch_size

    def epoch() -> None:
        order = torch.randperm(len(x)).to(bench.device)[: n_steps * batch_size]
        for xs, ys in zip(x[order].split(batch_size), y[order].split(batch_size), strict=True):
            for parameter in model.parameters():
                parameter.grad = None
            task.loss(model(xs), ys).backward()
            optimizer.step()

    epoch()
    seconds = _events if bench.is_cuda else _clock
    return median(seconds(epoch) for _ in range(N_EPOCHS)) / n_steps


def _events(work: Callable[[], None]) -> float:
    import torch

    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begun.record()
    work()
    ended.record()
    torch.cuda.synchronize()
    return float(begun.elapsed_time(ended)) / 1e3


def _clock(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
