"""What planning for a budget is worth: searches of ours with and without it, played from tables.

    python -m benchmarks.budget TABLE… [--seeds 10] [--budgets 1,3,10,30] [--json OUT]

A budget is so many mean costs of a batch size. Without planning the same search ends before the run
that would not fit; it knows of no budget until then. Means over the seeds, each with and without:
  hypervolume  of the completed runs, over the table's
  regret       of batch sizes: error of the best run over that of the best one there is
  runs         until the end

    python -m benchmarks.budget TABLE… --twice

prints in their place what twice each budget is said to buy, and what it bought: by how much the
error of the best run of a batch size falls, over the sizes that had run before.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from batchfront.objectives.curves.table import Table, read_table
from batchfront.study.plan.limits import Limits
from batchfront.study.search.enough import Enough
from batchfront.study.search.spending import Spending
from benchmarks.peers import known_limits
from benchmarks.playback import Played
from benchmarks.rows import parser, table_name, write
from benchmarks.score import Score, costs_of
from benchmarks.searches import OURS, Playback
from benchmarks.seed_means import means_of

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
    arguments.add_argument("--twice", action="store_true", help="what twice as much buys")
    args = arguments.parse_args()
    budgets = [float(one) for one in args.budgets.split(",")]
    jobs = [(path, budget) for path in args.tables for budget in budgets]
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        print(HEAD_OF_TWICE if args.twice else HEAD)
        one = _twice if args.twice else _job
        for row in pool.imap(functools.partial(one, n_seeds=args.seeds), jobs):
            rows.append(row)
            print(line_of_twice(row) if args.twice else line(row), flush=True)
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


def _twice(job: tuple[Path, float], *, n_seeds: int) -> Row:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path, times = job
    table = read_table(path)
    budget = times * mean(costs_of(table).values())
    both = [twice(table, budget, seed=seed) for seed in range(n_seeds)]
    said, came = (mean(pair[at] for pair in both) for at in (0, 1))
    return {
        "table": table_name(path),
        "budget": times,
        "seeds": n_seeds,
        "said": said,
        "came": came,
    }


def twice(table: Table, budget: float, *, seed: int) -> tuple[float, float]:
    """What twice the budget is said to buy, and what it buys: means over sizes that have run."""
    known, spent, played = known_limits(table), [0.0], list[Played]()

    def within(times: float) -> Limits:
        return Spending(budget=times * budget, spent=spent[0], reserved=0.0).within(known)

    times = [1.0]
    search = Playback(
        table, name=OURS, pruner="front", seed=seed, limits=lambda study: within(times[0])
    )

    def play() -> dict[int, float]:
        """Play to the end of the budget: the error of the best run of each size."""
        while any(map(within(times[0]).can_afford, table.batch_sizes)) and len(played) < MOST_RUNS:
            played.append(search.next())
            spent[0] += played[-1].train_seconds
        found: dict[int, float] = {}
        for one in (one for one in played if one.completed):
            error = errors[one.run.batch_size, one.run.learning_rate]
            found[one.run.batch_size] = min(error, found.get(one.run.batch_size, math.inf))
        return found

    errors = means_of(table).errors
    before = play()
    times[0] = 2.0
    looking = Enough(space=search.space, seed=seed, hardware="")
    said = {
        size.batch_size: size.gain
        for size in looking.bought(search.study, within(2.0), 2 * budget - spent[0])
        if size.has_run
    }
    after = play()
    sizes = [size for size in before if size in said]
    return mean(said[size] for size in sizes), mean(before[size] - after[size] for size in sizes)


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


HEAD_OF_TWICE = f"{'table':20} {'budget':>6} {'said':>8} {'came':>8}"


def line_of_twice(row: Row) -> str:
    """One line of the other table."""
    return f"{row['table']:20} {row['budget']:6g} {row['said']:8.4f} {row['came']:8.4f}"


if __name__ == "__main__":
    main()
