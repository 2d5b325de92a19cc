"""How well rules that look only at the training loss find runs that fail: real runs, side by side.

    python -m benchmarks.divergence [TASK…] [--json OUT]

Every run is trained to its end (or until its loss is no number) with all rules watching. Columns:
  recall       share stopped of the failed runs: no number in the end, or a final training loss of
               at least 0.9 of the constant predictor's and no metric clearly above its
  false_stops  stopped runs of the upper half by that metric at their batch size; no failed one is
  steps_saved  mean share of a stopped failed run's steps that its stop saves
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import Stopped, TrialParams, Verdict
from batchfront.objectives.run import Run
from batchfront.objectives.training.recipe import PLAIN, Recipe
from benchmarks.divergence_rules import FourTimesBest, Guard, NanOnly, Rule, TwiceTheWindow
from benchmarks.rows import parser, write

ODD = "benchmarks/odd_losses.py:"
TASKS = (
    "digits", "benchmarks/tasks.py:digits_adam", "diabetes", "benchmarks/tasks.py:diabetes_adam",
    "benchmarks/tasks.py:noisy_adamw", "benchmarks/tasks.py:digits_cnn_adam",
    f"{ODD}kelvin_adam", f"{ODD}diabetes_raw_adam", f"{ODD}claims_adamw",
    f"{ODD}rare_class_adam", f"{ODD}pixels_sgd", f"{ODD}pixels_warm_up_adam",
)  # fmt: skip
BATCH_SIZES = (1, 4, 16, 64, 256)
LEARNING_RATES = tuple(10 ** (e / 2) for e in range(-7, 3))  # 3e-4 .. 10
FINER = 0.01  # times those, for Adam on the odd tasks: larger ones fail by luck
WARM_UPS = {f"{ODD}pixels_warm_up_adam": Recipe(warmup_examples=2154)}  # 2 of its 20 epochs
SEEDS = (0, 1)
FAILED = 0.9  # of the constant predictor's loss
SKILLED = 0.1  # of the way from its metric to a perfect one
COUNTS = ("runs", "failed", "upper_half", "false_stops")
RULES = ("guard", "nan only", "4 x best", "2 x window mean")


class WatchedByAll(Run):
    """Trains on whatever the rules say, and notes when each would have stopped it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(measure_memory=False, **options)
        self.rules: dict[str, Rule] = {}
        self.stops: dict[str, int] = {}  # rule: after how many steps
        self.steps = 0
        self.total_steps = 0
        self.baseline = math.inf
        self.skilled_from = math.inf  # metric
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
        if baseline_metric is not None:
            self.skilled_from = baseline_metric + SKILLED * (1 - baseline_metric)
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
        unlearned = mean(self._losses) >= FAILED * self.baseline
        self.failed = unlearned and val_accuracy < self.skilled_from
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
    objective = load_objective(task, device="cpu", recipe=WARM_UPS.get(task, PLAIN))
    sizes = [b for b in BATCH_SIZES if b <= (objective.batch_sizes[1] or b)]
    finer = FINER if task.startswith(ODD) and "adam" in task else 1.0
    grid = [(b, finer * r, s) for b in sizes for r in LEARNING_RATES for s in SEEDS]
    seen = [_train(objective, *key) for key in track(grid, task, transient=True)]
    half = _upper_half(seen)
    return [
        {
            "task": objective.name.rpartition(":")[2],
            "optimizer": objective.fingerprint["optimizer"],
            "rule": rule,
            **judged(rule, seen, half),
        }
        for rule in RULES
    ]


def judged(rule: str, seen: Sequence[Seen], half: Sequence[Seen]) -> dict[str, Any]:
    """One rule's row."""
    failed = [run for run in seen if run.failed]
    found = [run for run in failed if rule in run.stops]
    saved = [1 - run.stops[rule] / run.total_steps for run in found]
    return {
        "runs": len(seen),
        "failed": len(failed),
        "recall": len(found) / len(failed) if failed else None,
        "upper_half": len(half),
        "false_stops": sum(rule in run.stops for run in half),
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


def _upper_half(seen: Sequence[Seen]) -> list[Seen]:
    """The better half of each batch size, by the metric; a failed run is never good."""
    upper = []
    for size in {run.batch_size for run in seen}:
        here = [run for run in seen if run.batch_size == size]
        least = median(max(run.final, -1e9) for run in here)
        upper += [run for run in here if run.final >= least and not run.failed]
    return upper


def print_row(row: dict[str, Any]) -> None:
    """One line."""
    recall = "-" if row["recall"] is None else f"{row['recall']:.2f}"
    saved = "-" if row["steps_saved"] is None else f"{row['steps_saved']:.2f}"
    print(
        f"{row['task']:18} {row['optimizer']:28} {row['rule']:16} {row['runs']:5} "
        f"{row['failed']:6} {recall:>7} {row['false_stops']:4} of {row['upper_half']:3} "
        f"{saved:>11}",
        flush=True,
    )


if __name__ == "__main__":
    main()
