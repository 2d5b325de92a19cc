"""How well rules that look only at the training loss find runs that fail: real runs, side by side.

    python -m benchmarks.divergence [TASK…] [--json OUT]

Every run is trained to its end (or until its loss is no number) with all rules watching. Columns:
  recall       share stopped of the failed runs: final training loss at least 0.9 of the constant
               predictor's, or no number
  false_stops  stopped runs of the best quarter by accuracy at their batch size
  steps_saved  mean share of a stopped failed run's steps that its stop saves
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import mean, quantiles
from typing import Any, Protocol

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import Stopped, TrialParams, Verdict
from batchfront.objectives.meters.divergence import DivergenceGuard
from batchfront.objectives.run import Run
from benchmarks.rows import parser, write

TASKS = (
    "digits", "benchmarks/tasks.py:digits_adam", "diabetes", "benchmarks/tasks.py:diabetes_adam",
    "benchmarks/tasks.py:noisy_adamw", "benchmarks/tasks.py:digits_cnn_adam",
)  # fmt: skip
BATCH_SIZES = (1, 4, 16, 64, 256)
LEARNING_RATES = tuple(10 ** (e / 2) for e in range(-7, 3))  # 3e-4 .. 10
SEEDS = (0, 1)
FAILED = 0.9  # of the constant predictor's loss
COUNTS = ("runs", "failed", "top_quarter", "false_stops")
RULES = ("guard", "nan only", "4 x best", "2 x window mean")


class Rule(Protocol):
    """Says once that a run should stop."""

    def step(self, loss: float) -> bool:
        """After each step with a finite loss."""

    def report(self, metric: float) -> bool:
        """After each epoch."""


class Guard:
    """Ours."""

    def __init__(self, total_steps: int, loss: float | None, metric: float | None) -> None:
        self._guard = DivergenceGuard(
            total_steps=total_steps, baseline_loss=loss, baseline_metric=metric
        )

    def step(self, loss: float) -> bool:
        return self._guard.step(loss) is not None

    def report(self, metric: float) -> bool:
        return self._guard.report(metric) is not None


class NanOnly:
    """What most training scripts have; non-finite losses end a run for every rule."""

    def step(self, loss: float) -> bool:
        return False

    def report(self, metric: float) -> bool:
        return not math.isfinite(metric)


class FourTimesBest(NanOnly):
    """As Lightning's and fastai's learning rate finders: a smoothed loss above 4 times its best."""

    smoothing = 0.98

    def __init__(self) -> None:
        self._mean = self._best = 0.0
        self._steps = 0

    def step(self, loss: float) -> bool:
        self._steps += 1
        self._mean = self.smoothing * self._mean + (1 - self.smoothing) * loss
        smoothed = self._mean / (1 - self.smoothing**self._steps)
        if self._steps == 1 or smoothed < self._best:
            self._best = smoothed
        return smoothed > 4 * self._best


class TwiceTheWindow(NanOnly):
    """As llm-foundry: 5 losses in a row at least twice the mean of the last 100."""

    window, factor, patience = 100, 2.0, 5

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=self.window)
        self._sum = 0.0
        self._streak = 0

    def step(self, loss: float) -> bool:
        full = len(self._last) == self.window
        outlier = full and loss >= self.factor * self._sum / self.window
        self._streak = self._streak + 1 if outlier else 0
        self._sum += loss - (self._last[0] if full else 0.0)
        self._last.append(loss)
        return self._streak >= self.patience


class WatchedByAll(Run):
    """Trains on whatever the rules say, and notes when each would have stopped it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(measure_memory=False, **options)
        self.rules: dict[str, Rule] = {}
        self.stops: dict[str, int] = {}  # rule: after how many steps
        self.steps = 0
        self.total_steps = 0
        self.baseline = math.inf
        self.failed = False
        self._losses: list[float] = []  # of this epoch

    def begin(
        self,
        total_steps: int,
        baseline_loss: float | None = None,
        baseline_metric: float | None = None,
    ) -> None:
        super().begin(total_steps, baseline_loss, baseline_metric)
        self.total_steps = total_steps
        self.baseline = math.inf if baseline_loss is None else baseline_loss
        guard = Guard(total_steps, baseline_loss, baseline_metric)
        self.rules = dict(
            zip(RULES, (guard, NanOnly(), FourTimesBest(), TwiceTheWindow()), strict=True)
        )

    def step(self, loss: Any) -> None:
        self._raise_latched()
        self.steps += 1
        value = float(loss.detach() if hasattr(loss, "detach") else loss)
        if not math.isfinite(value):
            self._end_for_all()
        self._losses.append(value)
        self._note({name: rule.step(value) for name, rule in self.rules.items()})

    def report(self, val_accuracy: float, *, train_accuracy: float | None = None) -> None:
        self._raise_latched()
        if not math.isfinite(val_accuracy):
            self._end_for_all()
        self.curve.append(float(val_accuracy))
        self.failed = mean(self._losses) >= FAILED * self.baseline
        self._losses.clear()
        self._note({name: rule.report(val_accuracy) for name, rule in self.rules.items()})

    def _note(self, said: dict[str, bool]) -> None:
        for name, stops in said.items():
            if stops:
                self.stops.setdefault(name, self.steps)

    def _end_for_all(self) -> None:
        self.failed = True
        self._note(dict.fromkeys(self.rules, True))
        self._stop(Verdict.NON_FINITE, "no number")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One run to its end."""

    batch_size: int
    final: float  # metric; -inf when it ended in no number
    failed: bool
    total_steps: int
    stops: dict[str, int]


def main() -> None:
    """Parse, train, print."""
    arguments = parser(__doc__)
    arguments.add_argument("tasks", nargs="*", default=TASKS, metavar="TASK")
    args = arguments.parse_args()
    rows = []
    print(
        f"{'task':18} {'optimizer':28} {'rule':16} {'runs':>5} {'failed':>6} {'recall':>7} "
        f"{'false stops':>11} {'steps saved':>11}"
    )
    for task in args.tasks:
        for row in compare(task):
            rows.append(row)
            print_row(row)
    if len(args.tasks) > 1:
        rows += [pooled(rule, rows) for rule in RULES]
        for row in rows[-len(RULES) :]:
            print_row(row)
    write(rows, args.json)


def compare(task: str) -> list[dict[str, Any]]:
    """Train the grid of one task, a row for each rule."""
    import torch
    from rich.progress import track

    torch.set_num_threads(1)
    objective = load_objective(task, device="cpu")
    sizes = [b for b in BATCH_SIZES if b <= (objective.batch_sizes[1] or b)]
    grid = [(b, r, s) for b in sizes for r in LEARNING_RATES for s in SEEDS]
    seen = [_train(objective, *key) for key in track(grid, task, transient=True)]
    top = _top_quarter(seen)
    return [
        {
            "task": objective.name.rpartition(":")[2],
            "optimizer": objective.fingerprint["optimizer"],
            "rule": rule,
            **judged(rule, seen, top),
        }
        for rule in RULES
    ]


def judged(rule: str, seen: Sequence[Seen], top: Sequence[Seen]) -> dict[str, Any]:
    """One rule's row."""
    failed = [run for run in seen if run.failed]
    found = [run for run in failed if rule in run.stops]
    saved = [1 - run.stops[rule] / run.total_steps for run in found]
    return {
        "runs": len(seen),
        "failed": len(failed),
        "recall": len(found) / len(failed) if failed else None,
        "top_quarter": len(top),
        "false_stops": sum(rule in run.stops for run in top),
        "steps_saved": mean(saved) if saved else None,
    }


def pooled(rule: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One rule over the runs of all tasks."""
    some = [row for row in rows if row["rule"] == rule]
    total = {key: sum(row[key] for row in some) for key in COUNTS}
    found = [row["failed"] * (row["recall"] or 0.0) for row in some]
    saved = sum(n * (row["steps_saved"] or 0.0) for n, row in zip(found, some, strict=True))
    return {
        "task": "all",
        "optimizer": "",
        "rule": rule,
        **total,
        "recall": sum(found) / total["failed"] if total["failed"] else None,
        "steps_saved": saved / sum(found) if sum(found) else None,
    }


def _train(objective: Any, size: int, rate: float, seed: int) -> Seen:
    params = TrialParams(
        batch_size=size,
        learning_rate=rate,
        epochs=objective.default_epochs,
        seed=seed,
        device="cpu",
    )
    run = WatchedByAll(metric=objective.metric)
    with run, suppress(Stopped):
        objective(params, run)
    final = run.curve[-1] if run.latched is None else -math.inf
    return Seen(
        batch_size=size,
        final=final,
        failed=run.failed,
        total_steps=run.total_steps,
        stops=run.stops,
    )


def _top_quarter(seen: Sequence[Seen]) -> list[Seen]:
    """The best quarter by accuracy at each batch size; a failed run is never good."""
    top = []
    for size in {run.batch_size for run in seen}:
        here = [run for run in seen if run.batch_size == size]
        least = quantiles([max(run.final, -1e9) for run in here], n=4)[2]
        top += [run for run in here if run.final >= least]
    return top


def print_row(row: dict[str, Any]) -> None:
    """One line."""
    recall = "-" if row["recall"] is None else f"{row['recall']:.2f}"
    saved = "-" if row["steps_saved"] is None else f"{row['steps_saved']:.2f}"
    print(
        f"{row['task']:18} {row['optimizer']:28} {row['rule']:16} {row['runs']:5} "
        f"{row['failed']:6} {recall:>7} {row['false_stops']:4} of {row['top_quarter']:3} "
        f"{saved:>11}",
        flush=True,
    )


if __name__ == "__main__":
    main()
