"""Runs trained together against the same runs one by one: CPU seconds, in turns, in one process.

    python -m benchmarks.fused [--rounds 3] [--runs 10] [--cases mlp-1,mlp-8] [--json OUT]
    python -m benchmarks.fused --cases tasks [--epochs 3]
    python -m benchmarks.fused --cases smallest [--target 0.95] [--sizes 1:512]

A round trains ten seeds one by one, half of them before the group and half after it, and the ten
together, tracing and comparing included. Prints the median ratio of the rounds and their range, by
how much single runs of a case differ in CPU seconds (the noise), and at how many seeds the final
accuracy is the same.

The case `tasks` is all bundled tasks that need no download, at three batch sizes each; whether a
case is trained together is decided as `--fuse auto` decides it, and the decision is in the group's
seconds, where it is `no`, too.

The case `smallest` is two commands, `smallest --fuse auto` and `--fuse off`, each a process of its
own on digits, start and probes included; it takes minutes.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from batchfront.objectives.fused.together import Together
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.tasks.bundled import BUNDLED
from benchmarks import rows as output

EPOCHS = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """A task at one batch size, and a rate that is good there."""

    task: str
    batch_size: int
    learning_rate: float


CASES = {
    "mlp-1": Case(task="digits", batch_size=1, learning_rate=0.001),
    "mlp-8": Case(task="digits", batch_size=8, learning_rate=0.01),
    "mlp-64": Case(task="digits", batch_size=64, learning_rate=0.05),
    "cnn-4": Case(task="digits-cnn", batch_size=4, learning_rate=0.005),
    "cnn-64": Case(task="digits-cnn", batch_size=64, learning_rate=0.05),
}

TASKS = {
    f"{task}-{size}": Case(task=task, batch_size=size, learning_rate=rate)
    for task in BUNDLED
    for size, rate in ((1, 0.001), (8, 0.005), (64, 0.02))
}


def trials(case: Case, n: int, epochs: int) -> list[TrialParams]:
    """The runs of a case: they differ in their seeds."""
    return [
        TrialParams(
            batch_size=case.batch_size,
            learning_rate=case.learning_rate,
            epochs=epochs,
            seed=seed,
            device="cpu",
        )
        for seed in range(n)
    ]


@dataclass
class Round:
    """One round of a case."""

    apart: list[float]  # CPU seconds of each run
    together: float  # of all of them, and of the trace
    trace: float
    fused: bool
    alike: int  # seeds of the same final metric


def one_round(objective: Any, group: list[TrialParams], *, auto: bool = False) -> Round:
    """Half of the runs, the group, the other half; `auto`: a group only where that pays."""
    mine, theirs = (
        [Run(metric=objective.metric, measure_memory=False) for _ in group] for _ in "ab"
    )
    seconds, half = [], len(group) // 2

    def some(numbers: range) -> None:
        for n in numbers:
            since = time.process_time()
            carry_out(objective, group[n], theirs[n])
            seconds.append(time.process_time() - since)

    some(range(half))
    since, door = time.process_time(), Together(objective)
    lone_seconds = statistics.mean(seconds)
    is_fused = not auto or not door.why_not(group, lone_seconds=lone_seconds)
    if is_fused:
        door.carry_out(list(zip(group, mine, strict=True)))
    else:
        for params, run in zip(group, mine, strict=True):
            carry_out(objective, params, run)
    spent = time.process_time() - since
    some(range(half, len(group)))
    alike = sum(a.result().metric == b.result().metric for a, b in zip(mine, theirs, strict=True))
    return Round(
        apart=seconds,
        together=spent,
        trace=door.traces.seconds,
        fused=is_fused,
        alike=alike,
    )


def summary(name: str, found: list[Round]) -> dict[str, Any]:
    """The row of a case."""
    ratios = [sum(one.apart) / one.together for one in found]
    lone = [seconds for one in found for seconds in one.apart]
    return {
        "case": name,
        "apart_seconds": statistics.median(sum(one.apart) for one in found),
        "together_seconds": statistics.median(one.together for one in found),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "noise": statistics.pstdev(lone) / statistics.mean(lone),
        "trace_seconds": statistics.median(one.trace for one in found),
        "same_metric": min(one.alike for one in found),
        "fused": sum(one.fused for one in found),
    }


def whole_command(fuse: str, target: float, sizes: str) -> dict[str, Any]:
    """`smallest` in a new folder; CPU seconds are of the process and those that it has started."""
    command = [sys.executable, "-m", "batchfront", "smallest", "--task", "digits"]
    command += ["--target", f"{target:g}", "--batch-sizes", sizes]
    before, since = _seconds_of_children(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = partial(subprocess.run, cwd=folder, check=True, capture_output=True, text=True)
        done([*command, "--fuse", fuse])
        seconds, wall = _seconds_of_children() - before, time.perf_counter() - since
        told = json.loads(done([*command, "--max-trials", "0", "--json"]).stdout)
    n_runs = sum(size["n_runs"] for size in told["ladder"])
    answer = told["answer"]
    return {
        "case": f"smallest, {fuse}",
        "cpu_seconds": seconds,
        "wall_seconds": wall,
        "runs": n_runs,
        "answer": answer,
    }


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table; write rows with --json."""
    parser = output.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    names = [*CASES, "tasks", "smallest"]
    parser.add_argument("--cases", type=output.some_of(names), default=list(CASES))
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--sizes", default="1:512")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    if "smallest" in args.cases:
        for fuse in ("auto", "off"):
            row = whole_command(fuse, args.target, args.sizes)
            rows.append(row)
            print(
                f"{row['case']:16}{row['cpu_seconds']:9.1f} CPU s{row['wall_seconds']:9.1f} wall s"
                f"{row['runs']:6} runs, answer {row['answer']}",
                flush=True,
            )
        args.cases.remove("smallest")
    if "tasks" in args.cases:
        rows += cases(TASKS, args, auto=True)
        args.cases.remove("tasks")
    if args.cases:
        rows += cases({name: CASES[name] for name in args.cases}, args)
    output.write(rows, args.json)


def cases(some: dict[str, Case], args: Namespace, *, auto: bool = False) -> list[dict[str, Any]]:
    """The rows of some cases, each printed as soon as it is there."""
    rows = []
    print(
        f"{'case':14}{'apart':>9}{'together':>10}{'x':>7}{'range':>14}{'noise':>8}{'same':>6}{'fused':>7}"
    )
    for name, case in some.items():
        objective = load_objective(case.task, device="cpu")
        group = trials(case, args.runs, args.epochs)
        one_round(objective, trials(case, 2, 1))  # what is only loaded once
        found = [one_round(objective, group, auto=auto) for _ in range(args.rounds)]
        row = summary(name, found)
        rows.append(row)
        print(
            f"{name:14}{row['apart_seconds']:9.2f}{row['together_seconds']:10.2f}"
            f"{row['ratio']:7.2f}{row['ratio_low']:7.2f}-{row['ratio_high']:.2f}"
            f"{row['noise']:9.1%}{row['same_metric']:6}{row['fused']:7}",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    main()
