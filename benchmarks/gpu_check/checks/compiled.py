"""Compiled steps: the same numbers, the same peak twice, and no slower after many runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.gpu_check.bench import Bench, mib
from benchmarks.gpu_check.rows import Row, info, judged

SAME = 0.02
N_RUNS = 40
SLOWER = 1.2


def check(bench: Bench) -> Iterator[Row]:
    """One model, eager and compiled."""
    sizes = (16, 128, 512) if bench.is_cuda else (4, 16, 128)  # small ones peak in the update
    plain, compiled = bench.objective("mlp"), bench.objective("mlp", compiled=True)
    eager = bench.prober(plain).sizes(sizes)
    prober = bench.prober(compiled)
    first, second = ({b: prober.measure(b) for b in sizes} for _ in range(2))
    peaks = [[cost[b].peak_memory_bytes for b in sizes] for cost in (eager, first, second)]
    yield judged(
        all(abs(a / b - 1) < SAME for a, b in zip(peaks[1], peaks[2], strict=True)),
        "peak of a compiled step: the same when probed again",
        f"{_mib(peaks[1])}, {_mib(peaks[2])} MiB",
    )
    near = all(0.5 < c / e < 1.5 for e, c in zip(peaks[0], peaks[2], strict=True))
    yield judged(
        near and peaks[2][-1] > peaks[2][0], "and near the eager one's", f"{_mib(peaks[0])} MiB"
    )
    gain = [eager[b].step_seconds / second[b].step_seconds for b in sizes]
    yield info(f"times as fast as eager at {sizes}", ", ".join(f"{times:.1f}" for times in gain))
    yield _same_loss(bench, plain, compiled, sizes[1])
    yield _stays_quick(bench, compiled, sizes[1])


def _mib(peaks: list[int]) -> str:
    return "/".join(mib(peak) for peak in peaks)


def _same_loss(bench: Bench, plain: Any, compiled: Any, size: int) -> Row:
    params = bench.params(size, epochs=2, seed=3, rate=1e-4)
    losses = [bench.measured(objective, params).train_loss for objective in (plain, compiled)]
    said = ", ".join(f"{loss:.4f}" for loss in losses)
    return judged(abs(losses[0] - losses[1]) < SAME, "training loss: eager, compiled", said)


def _stays_quick(bench: Bench, compiled: Any, size: int) -> Row:
    """Graphs are recorded anew for each run's addresses."""
    found = []
    for seed in range(N_RUNS if bench.is_cuda else 3):
        run = bench.measured(compiled, bench.params(size, epochs=3, seed=seed, rate=1e-4))
        found.append(run.train_seconds / run.steps * 1e6)
    return judged(
        not bench.is_cuda or found[-1] < SLOWER * min(found[:5]),
        f"step time after {len(found)} runs of one process",
        f"first {found[0]:.0f}, least {min(found):.0f}, last {found[-1]:.0f} us",
    )
