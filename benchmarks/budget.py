"""What planning for a budget is worth: searches of ours with and without it, played from tables.

    python -m benchmarks.budget TABLE… [--seeds 10] [--budgets 1,3,10,30] [--json OUT]

A budget is so many mean costs of a batch size. Without planning the same search ends before the run
that would not fit; it knows of no budget until then. Means over the seeds, each with and without:
  hypervolume  of the completed runs, over the table's
  regret       of batch sizes: error of the best run over that of the best one there is
  runs         until the end
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from batchfront.objectives.curves.table import Table, read_table
from batchfront.study.search.spending import Spending
from benchmarks.peers import known_limits
from benchmarks.rows import parser, table_name, write
from benchmarks.score import Score, costs_of
from benchmarks.searches import OURS, Playback

Row = dict[str, Any]
BUDGETS = "1,3,10,30"
MOST_RUNS = 150


def main() -> None:
    """Parse, run, print."""
    arguments = parser(__doc__)
    arguments.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    arguments.add_argument("--budgets", default=BUDGETS, help="default: %(default)s")
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--jobs", type=int, default=1, help="processes")
    args = arguments.parse_args()
    budgets = [float(one) for one in args.budgets.split(",")]
    jobs = [(path, budget) for path in args.tables for budget in budgets]
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        print(HEAD)
        for row in pool.imap(functools.partial(_job, n_seeds=args.seeds), jobs):
            rows.append(row)
            print(line(row), flush=True)
    write(rows, args.json)


@dataclass(frozen=True, kw_only=True)
class Came:
    """What one search came to."""

    hypervolume: float
    regret: float
    runs: int


def _job(job: tuple[Path, float], *, n_seeds: int) -> Row:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path, times = job
    table = read_table(path)
    budget = times * mean(costs_of(table).values())
    row: Row = {"table": table_name(path), "budget": times, "seeds": n_seeds}
    for name, plans in (("with", True), ("without", False)):
        came = [come(table, budget, seed=seed, plans=plans) for seed in range(n_seeds)]
        for what in Came.__annotations__:
            row[f"{what}_{name}"] = mean(getattr(one, what) for one in came)
    return row


def come(table: Table, budget: float, *, seed: int, plans: bool) -> Came:
    """Play one search until its budget is spent."""
    known, score = known_limits(table), Score(table=table)

    def spending() -> Spending:
        return Spending(budget=budget, spent=score.seconds, reserved=0.0)

    search = Playback(
        table, name=OURS, pruner="front", seed=seed,
        limits=lambda study: spending().within(known) if plans else known,
    )  # fmt: skip
    while score.n_trials < MOST_RUNS:
        within = spending().within(known)
        if plans and not any(map(within.can_afford, table.batch_sizes)):
            break
        played = search.next()
        if score.seconds + played.train_seconds > budget:
            break
        score.add(played)
    outcome = score.outcome()
    return Came(
        hypervolume=outcome["hypervolume"], regret=outcome["regret_mean"], runs=score.n_trials
    )


HEAD = (
    f"{'table':20} {'budget':>6} {'HV with':>8} {'without':>8} {'regret with':>11} {'without':>8} "
    f"{'runs with':>9} {'without':>8}"
)


def line(row: Row) -> str:
    """One line of the table."""
    cells: Sequence[str] = [
        f"{row['hypervolume_with']:8.4f} {row['hypervolume_without']:8.4f}",
        f"{row['regret_with']:11.4f} {row['regret_without']:8.4f}",
        f"{row['runs_with']:9.1f} {row['runs_without']:8.1f}",
    ]
    return f"{row['table']:20} {row['budget']:6g} {' '.join(cells)}"


if __name__ == "__main__":
    main()
