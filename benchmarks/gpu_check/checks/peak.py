"""Told peaks against `max_memory_allocated` in a plain loop, and predictions against told peaks."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from benchmarks.gpu_check.bench import Bench, mib
from benchmarks.gpu_check.rows import Row, judged

MODELS = ("mlp", "cnn", "transformer", "lstm")
SAME = 0.02  # relative
MEDIAN_ERROR, WORST_ERROR = 0.05, 0.15
N_BEFORE = 2  # sizes measured before one is predicted

Peaks = Mapping[int, int]  # by batch size


def check(bench: Bench) -> Iterator[Row]:
    """Four models at all sizes."""
    sizes = [2**k for k in range(11)] if bench.is_cuda else [1, 4, 16]
    off: dict[str, float] = {}
    late: dict[str, tuple[int | None, int | None]] = {}
    errors: dict[str, list[float]] = {}
    for name in MODELS:
        objective = bench.objective(name)
        prober = bench.prober(objective)
        costs = prober.sizes(sizes)
        told = {b: c.peak_memory_bytes for b, c in costs.items() if c.peak_memory_bytes}
        late[name] = (told.get(sizes[0]), prober.measure(sizes[0]).peak_memory_bytes)
        if bench.is_cuda:
            plain = {b: _plain_peak(bench, objective, b) for b in told}
            off[name] = max(abs(told[b] / plain[b] - 1) for b in told)
        errors[name] = _errors({b: objective.predict_peak_bytes(b) for b in told}, told)
    if bench.is_cuda:
        yield judged(
            max(off.values()) <= SAME,
            "told peak = a plain loop's max_memory_allocated above its baseline: worst of 11 sizes",
            ", ".join(f"{name} {share:.1%}" for name, share in off.items()),
        )
    yield _first_is_as_later(late)
    yield _predicted(errors)
    yield _cycles(bench, sizes)


def _plain_peak(bench: Bench, objective: Any, batch_size: int) -> int:
    import torch

    from batchfront.objectives.training.optimizer import build_optimizer

    task, data = objective.task, objective.task.data()
    x = data.x_train[:batch_size].to(bench.device)
    y = data.y_train[:batch_size].to(bench.device)
    gc.collect()
    torch.cuda.synchronize(bench.device)
    before = torch.cuda.memory_allocated(bench.device)
    torch.cuda.reset_peak_memory_stats(bench.device)
    model = task.model().to(bench.device).train()
    optimizer = build_optimizer(task, model, learning_rate=1e-3, device=bench.device)
    for _ in range(4):
        for parameter in model.parameters():
            parameter.grad = None
        task.loss(model(x), y).backward()
        optimizer.step()
    torch.cuda.synchronize(bench.device)
    return torch.cuda.max_memory_allocated(bench.device) - before


def _errors(predicted: Mapping[int, int | None], told: Peaks) -> list[float]:
    """The relative error of each size's prediction, made from those below it as a probe does."""
    from batchfront.objectives.training.predict import calibrated

    if not all(predicted.values()):
        return []
    sizes = sorted(told)
    ahead = [(sizes[:i], size) for i, size in enumerate(sizes) if i >= N_BEFORE]
    found = [(calibrated(predicted, {b: told[b] for b in known})[b], b) for known, b in ahead]
    return [abs(peak / told[b] - 1) for peak, b in found if peak is not None]


def _first_is_as_later(late: Mapping[str, tuple[int | None, int | None]]) -> Row:
    other = {n: (mib(a), mib(b)) for n, (a, b) in late.items() if a and b and abs(a / b - 1) > SAME}
    return judged(
        not other, "a process's first probe tells the peak of a later one", other or "yes"
    )


def _predicted(errors: Mapping[str, list[float]]) -> Row:
    said = {
        name: f"{median(found):.1%} ({max(found):.0%})" if found else "none"
        for name, found in errors.items()
    }
    everything = [error for found in errors.values() for error in found]
    good = not everything or (median(everything) <= MEDIAN_ERROR and max(everything) <= WORST_ERROR)
    return judged(
        good,
        "prediction corrected by smaller sizes: median error (worst)",
        ", ".join(f"{name} {error}" for name, error in said.items()),
    )


def _cycles(bench: Bench, sizes: list[int]) -> Row:
    """When the collector comes by is chance, so that it gets several."""
    right = bench.prober(bench.objective("mlp")).sizes(sizes[:7])
    off: dict[int, tuple[str, str]] = {}
    for _ in range(4 if bench.is_cuda else 1):
        found = bench.prober(bench.objective("hooked")).sizes(sizes[:7])
        for size, cost in found.items():
            told, wanted = cost.peak_memory_bytes or 0, right[size].peak_memory_bytes or 1
            if abs(told / wanted - 1) > SAME:
                off[size] = (mib(wanted), mib(told))
    return judged(not off, "a model in a reference cycle is told the same peak", off or "yes")
