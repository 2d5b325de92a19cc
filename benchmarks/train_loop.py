"""Training speed side by side in one run: our loop, a plain DataLoader loop, a minimal loop.

    python -m benchmarks.train_loop [--compile] [--json OUT]

Prints examples/s and ratios. "plain" is what tutorials show: a DataLoader over a TensorDataset, the
optimizer's defaults, `.item()` at every step. "minimal" is written by hand for speed: resident
tensors, one gather per epoch, a fused optimizer, the loss summed on the device; it has no guard, no
clock and no report. `--compile` adds ours with the whole step compiled. Each number is the best of
several interleaved rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, TensorDataset

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run
from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.objective import TaskObjective
from benchmarks import rows as output

BATCH_SIZES = (1, 8, 64, 256, 1024)
SECONDS = 1.0  # a loop and round train about this long
LEARNING_RATE = 1e-4


def cases() -> dict[str, tuple[TaskObjective, Data]]:
    """MLP with SGD and with Adam, CNN, regression."""
    found = {}
    for name, task, optimizer in (
        ("mlp sgd", "digits", None),
        ("mlp adam", "digits", torch.optim.Adam),
        ("cnn sgd", "digits-cnn", None),
        ("regression", "diabetes", None),
    ):
        objective = cast(TaskObjective, load_objective(task, device="cpu"))
        if optimizer is not None:
            changed = Task(**{**vars(objective.task), "optimizer": optimizer})
            objective = TaskObjective(changed, name=name, device="cpu")
        # Without a baseline the guard stops no slow learner halfway.
        objective._baseline_loss = objective._baseline_metric = None
        found[name] = (objective, objective.task.data())
    return found


def ours(objective: TaskObjective, data: Data, batch_size: int, epochs: int) -> float:
    """Seconds an epoch of training steps, as `make study` trains."""
    run = Run(metric=objective.metric, measure_memory=False)
    params = TrialParams(
        batch_size=batch_size, learning_rate=LEARNING_RATE, epochs=epochs, seed=0, device="cpu"
    )
    with run:
        objective(params, run)
    return run.result().train_seconds / epochs


def plain(objective: TaskObjective, data: Data, batch_size: int, epochs: int) -> float:
    """A DataLoader over a TensorDataset, and `.item()` at every step."""
    task = objective.task
    model = task.model()
    optimizer = task.optimizer(model.parameters(), lr=LEARNING_RATE)
    loader = DataLoader(
        TensorDataset(data.x_train, data.y_train), batch_size=batch_size, shuffle=True
    )

    def epoch() -> None:
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = task.loss(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()

    return typical(epoch, epochs)


def minimal(objective: TaskObjective, data: Data, batch_size: int, epochs: int) -> float:
    """Train by hand: resident tensors, one gather per epoch, fused optimizer, no sync."""
    task = objective.task
    model = task.model()
    optimizer = task.optimizer(model.parameters(), lr=LEARNING_RATE, fused=True)

    def epoch() -> None:
        order = torch.randperm(len(data.x_train))
        x_all, y_all = data.x_train[order], data.y_train[order]
        total = torch.zeros(())
        for x, y in zip(x_all.split(batch_size), y_all.split(batch_size), strict=True):
            optimizer.zero_grad()
            loss = task.loss(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.detach()

    return typical(epoch, epochs)


def typical(epoch: Callable[[], None], epochs: int) -> float:
    """Median seconds, the first epoch left out."""
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def with_compiled(objective: TaskObjective) -> Callable[..., float]:
    """Our loop with the whole step compiled."""
    torch.compiler.reset()  # graphs of other cases count towards a limit
    task = objective.task
    ready = TaskObjective(task, name=task.name, device="cpu", compiled=True)
    ready._baseline_loss = ready._baseline_metric = None
    return lambda _, *given: ours(ready, *given)


LOOPS = {"ours": ours, "plain": plain, "minimal": minimal}


def measure(
    loops: dict[str, Callable[..., float]],
    objective: TaskObjective,
    data: Data,
    batch_size: int,
    rounds: int,
) -> dict[str, float]:
    """Examples per second of each loop: the best round of each, rounds interleaved."""
    once = plain(objective, data, batch_size, 2)
    epochs = max(3, min(60, round(SECONDS / once)))
    best = dict.fromkeys(loops, float("inf"))
    for _ in range(rounds):
        for name, loop in loops.items():
            best[name] = min(best[name], loop(objective, data, batch_size, epochs))
    return {name: len(data.x_train) / seconds for name, seconds in best.items()}


def guard_cost(objective: TaskObjective) -> float:
    """Seconds that `run.step` takes a call: guard and clock, without any training."""
    run = Run(measure_memory=False)
    run.begin(10**6, baseline_loss=1.0)
    loss = torch.tensor(0.5)
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(20_000):
            run.step(loss)
        rounds.append((time.perf_counter() - start) / 20_000)
    return min(rounds)


def main() -> None:
    """Print the table; write rows with --json."""
    parser = output.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="our compiled step beside it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    print(f"{'case':12}{'B':>6}{'ours':>12}{'plain':>12}{'minimal':>12}{'x plain':>9}{'x min':>7}")
    for case, (objective, data) in cases().items():
        step = guard_cost(objective)
        loops = {**LOOPS, **({"compiled": with_compiled(objective)} if args.compile else {})}
        for batch_size in BATCH_SIZES:
            speed = measure(loops, objective, data, batch_size, args.rounds)
            row = {"case": case, "batch_size": batch_size, **speed}
            row["ratio_to_plain"] = speed["ours"] / speed["plain"]
            row["ratio_to_minimal"] = speed["ours"] / speed["minimal"]
            n_steps = -(-len(data.x_train) // batch_size)
            row["guard_share"] = step / (len(data.x_train) / speed["ours"] / n_steps)
            rows.append(row)
            fast = f"   compiled {speed['compiled']:,.0f}" if args.compile else ""
            print(
                f"{case:12}{batch_size:6}{speed['ours']:12,.0f}{speed['plain']:12,.0f}"
                f"{speed['minimal']:12,.0f}{row['ratio_to_plain']:9.2f}"
                f"{row['ratio_to_minimal']:7.2f}   guard {row['guard_share']:.1%}{fast}",
                flush=True,
            )
    output.write(rows, args.json)


if __name__ == "__main__":
    main()
