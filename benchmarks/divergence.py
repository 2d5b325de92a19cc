"""How well rules that look only at the training loss find runs that fail: real runs, side by side.

    python -m benchmarks.divergence [TASK…] [--seeds 0,1] [--together] [--keep FOLDER] [--json OUT]

Every run is trained to its end (or until its loss is no number); then all rules look at its course.
With --keep the courses are written to a folder, and read from there the next time: a rule that was
changed is judged in seconds. The folder knows nothing of changes to tasks or to training. With
--together the rates of a size are trained as one vectorised run, where they can be: several times
as fast, and rounded otherwise (docs/fused.md). Columns:
  recall       share stopped of the failed runs: no number in the end, or a final training loss of
               at least 0.9 of the constant predictor's and no metric clearly above its
  false_stops  stopped runs of the upper half by that metric at their batch size; no failed one is
  steps_saved  mean share of a stopped failed run's steps that its stop saves
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.training.recipe import PLAIN, Recipe
from benchmarks.divergence_rules import FourTimesBest, Guard, NanOnly, Rule, TwiceTheWindow
from benchmarks.recorded_losses import Course, keep, read, recorded
from benchmarks.rows import parser, write

ODD = "benchmarks/odd_losses.py:"
TASKS = (
    "digits", "benchmarks/tasks.py:digits_adam", "diabetes", "benchmarks/tasks.py:diabetes_adam",
    "benchmarks/tasks.py:noisy_adamw", "benchmarks/tasks.py:digits_cnn_adam",
    f"{ODD}kelvin_adam", f"{ODD}diabetes_raw_adam", f"{ODD}claims_adamw",
    f"{ODD}rare_class_adam", f"{ODD}pixels_sgd", f"{ODD}pixels_warm_up_adam",
    f"{ODD}shells_batch_norm", f"{ODD}noisy_dropout",
)  # fmt: skip
BATCH_SIZES = (1, 4, 16, 64, 256)
LEARNING_RATES = tuple(10 ** (e / 2) for e in range(-7, 3))  # 3e-4 .. 10
FINER = 0.01  # times those, for Adam on the odd tasks: larger ones fail by luck
WARM_UPS = {f"{ODD}pixels_warm_up_adam": Recipe(warmup_examples=2154)}  # 2 of its 20 epochs
SEEDS = (0, 1)
COUNTS = ("runs", "failed", "upper_half", "false_stops")
RULES = ("guard", "nan only", "4 x best", "2 x window mean")


def main() -> None:
    """Parse, train, print."""
    arguments = parser(__doc__)
    arguments.add_argument("tasks", nargs="*", default=TASKS, metavar="TASK")
    arguments.add_argument("--seeds", type=_numbers, default=SEEDS, metavar="0,1")
    arguments.add_argument("--keep", type=Path, metavar="FOLDER", help="of recorded courses")
    arguments.add_argument(
        "--together", action="store_true", help="train the rates of a size as one"
    )
    args = arguments.parse_args()
    rows = []
    print(
        f"{'task':18} {'optimizer':28} {'rule':16} {'runs':>5} {'failed':>6} {'recall':>7} "
        f"{'false stops':>11} {'steps saved':>11}"
    )
    for task in args.tasks:
        for row in compare(task, args.seeds, args.keep, together=args.together):
            rows.append(row)
            print_row(row)
    if len(args.tasks) > 1:
        rows += [pooled(rule, rows) for rule in RULES]
        for row in rows[-len(RULES) :]:
            print_row(row)
    write(rows, args.json)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def compare(
    task: str, seeds: Sequence[int], folder: Path | None, *, together: bool
) -> list[dict[str, Any]]:
    """Train the grid of one task, a row for each rule."""
    import torch

    torch.set_num_threads(1)
    objective = load_objective(task, device="cpu", recipe=WARM_UPS.get(task, PLAIN))
    name = objective.name.rpartition(":")[2]
    optimizer = objective.fingerprint["optimizer"]
    seen = [
        course
        for seed in seeds
        for course in _grid(
            objective, task, seed, folder and folder / f"{name}-{seed}.pickle", together=together
        )
    ]
    stops = [stops_of(course) for course in seen]
    return [
        {"task": name, "optimizer": optimizer, "rule": rule, **judged(rule, seen, stops)}
        for rule in RULES
    ]


def _grid(
    objective: Any, task: str, seed: int, path: Path | None, *, together: bool
) -> list[Course]:
    """The runs of one seed, from the file where there is one."""
    from rich.progress import track

    known = read(path) if path else None
    if known is not None:
        return known
    least, most = objective.batch_sizes
    sizes = [b for b in BATCH_SIZES if least <= b <= (most or b)]
    finer = FINER if task.startswith(ODD) and "adam" in task else 1.0
    rates = [finer * rate for rate in LEARNING_RATES]
    made = []
    for size in track(sizes, f"{task}, seed {seed}", transient=True):
        group = [_params(objective, size, rate, seed) for rate in rates]
        made += recorded(objective, group, together=together)
    if path:
        keep(made, path)
    return made


def _params(objective: Any, size: int, rate: float, seed: int) -> TrialParams:
    return TrialParams(
        batch_size=size,
        learning_rate=rate,
        epochs=objective.default_epochs,
        seed=seed,
        device="cpu",
    )


def stops_of(course: Course) -> dict[str, int]:
    """After how many steps each rule that stops the run does so."""
    guard = Guard(course.total_steps, course.baseline_loss, course.baseline_metric)
    rules: tuple[Rule, ...] = (guard, NanOnly(), FourTimesBest(), TwiceTheWindow())
    found = {name: _stop_of(rule, course) for name, rule in zip(RULES, rules, strict=True)}
    return {name: steps for name, steps in found.items() if steps is not None}


def _stop_of(rule: Rule, course: Course) -> int | None:
    """Losses and metrics that are no number end a run for every rule."""
    steps = 0
    for losses, metric in course.epochs:
        for loss in losses:
            steps += 1
            if not math.isfinite(loss) or rule.step(loss):
                return steps
        if not math.isfinite(metric) or rule.report(metric):
            return steps
    return None


def judged(rule: str, seen: Sequence[Course], stops: Sequence[dict[str, int]]) -> dict[str, Any]:
    """One rule's row."""
    half = upper_half(seen)
    failed = [i for i, run in enumerate(seen) if run.failed]
    found = [i for i in failed if rule in stops[i]]
    saved = [1 - stops[i][rule] / seen[i].total_steps for i in found]
    return {
        "runs": len(seen),
        "failed": len(failed),
        "recall": len(found) / len(failed) if failed else None,
        "upper_half": len(half),
        "false_stops": sum(rule in stops[i] for i in half),
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


def upper_half(seen: Sequence[Course]) -> list[int]:
    """Which are the better half of their batch size, by the metric; a failed run is never good."""
    upper = []
    for size in {run.batch_size for run in seen}:
        here = [i for i, run in enumerate(seen) if run.batch_size == size]
        least = median(max(seen[i].final, -1e9) for i in here)
        upper += [i for i in here if seen[i].final >= least and not seen[i].failed]
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
