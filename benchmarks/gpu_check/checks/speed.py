"""What limits small batches here, and what a CUDA graph of the ordinary step would gain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.gpu_check.bench import Bench
from benchmarks.gpu_check.rows import Row, info

B = 16
SIZES = (1, 64, 1024)


def check(bench: Bench) -> Iterator[Row]:
    """The step of digits: as it is, as a replayed graph, at other sizes."""
    import torch

    from batchfront.objectives.load import load_objective

    objective: Any = load_objective("digits", device=bench.device)
    task, data = objective.task, objective.task.data()
    x, y = data.x_train.to(bench.device), data.y_train.to(bench.device)
    model = task.model().to(bench.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(size: int) -> None:
        optimizer.zero_grad(set_to_none=False)
        task.loss(model(x[:size]), y[:size]).backward()
        optimizer.step()

    found = [f"eager {_micros(bench, lambda: step(B)):.0f} us"]
    if bench.is_cuda:
        found.append(f"a CUDA graph of it {_micros(bench, _graph(lambda: step(B))):.0f} us")
    yield info(f"digits' step at batch size {B}", "; ".join(found))
    by_size = {size: _micros(bench, lambda size=size: step(size)) for size in SIZES}
    said = ", ".join(f"{size}: {micros:.0f} us" for size, micros in by_size.items())
    yield info("eager step by batch size (where equal, launches are the limit)", said)


def _graph(work: Callable[[], None]) -> Callable[[], None]:
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # gradients and momentum have to be there
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _micros(bench: Bench, work: Callable[[], None]) -> float:
    """Mean microseconds of a call, the device waited for at both ends."""
    from batchfront.objectives.meters.clock import synchronizer

    wait, n = synchronizer(bench.device), 300 if bench.is_cuda else 10
    for _ in range(n // 10):
        work()
    wait()
    begun = time.perf_counter()
    for _ in range(n):
        work()
    wait()
    return (time.perf_counter() - begun) / n * 1e6
