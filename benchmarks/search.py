"""How soon each sampler finds the front, and the best accuracy of every batch size, on tables.

    python -m benchmarks.search TABLE… [--samplers a,b] [--seeds 15] [--json OUT] [--figure OUT]

With `--told error` or `train_loss` searches are told a loss instead of the table's metric: 1 - that
metric, or the training loss, by which they are then judged too.
A run that goes non-finite ends there for everyone; the guard and the pruners `front` and
`front-paused` belong to ours alone. With the latter runs go on once all trials are made, beyond the
budget where it has ended the search; with `paused-between` also before. All samplers have the same
training seconds: `BUDGET` times the mean cost of a batch size.
Columns, medians over the seeds (a mean for ask_seconds), null where it was not reached:
  seconds_to_90, _95, _98   training seconds until the completed runs' grid points dominate that
                            share of the table's hypervolume (as in benchmarks/pruning.py)
  hypervolume_10, _20, _40  share after so many trials; hypervolume: at the end
  regret_mean, regret_worst over batch sizes, at the end: error of the best grid point completed,
                            over that of the best one there is (averages over recorded seeds)
  seconds_to_regret_005     until every batch size is within 0.005 of its best
  ask_seconds               a call of the sampler
The row `oracle` knows the table: the cheapest runs that dominate each share, or are best of size.
Grid points that tie with the best of their size, by the standard errors of their means over seeds,
are as good as it (benchmarks/seed_means.py). Where two standard errors are more than a column tells
apart, a line below the oracle's says so: hypervolume beyond 5%, regret beyond 0.005.
Peers beyond Optuna's own need `pip install -c constraints.txt -e .[peers]` or another environment
with their packages in it; NePS runs beside in one of its own, whose Python `--neps` names
(benchmarks/neps_server.py). Its runs that go on from a lower rung count as trials.
"""

from __future__ import annotations

import functools
import multiprocessing
from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from batchfront.objectives.curves.table import Table, read_table
from batchfront.study.plan.plan import OF_THE_FRONT
from benchmarks.as_loss import TOLD, judged_by
from benchmarks.neps_peer import NAMES as NEPS
from benchmarks.neps_peer import neps_runs
from benchmarks.pruning import BETWEEN
from benchmarks.rows import parser, some_of, table_name, write
from benchmarks.score import SHARES, Row, Score, oracle_row, summary, untold
from benchmarks.searches import MAX_TRIALS, OURS, SLOW, play_runs, play_study

STOCK = ("tpe", "nsgaii", "nsgaiii", "qmc", "random", "grid")
SLOW_SEEDS = 3
PEERS = ("gp", "botorch", "moasha", *NEPS)
OTHER_HOUSES = ("moasha", *NEPS)  # they know errors of accuracies alone, and stop runs themselves
PACKAGES = {"botorch": "botorch", "moasha": "syne_tune"}  # without them a peer is left out
PRUNERS = ("none", "median", "hyperband")
OUR_PRUNERS = ("none", *OF_THE_FRONT, BETWEEN)


def main() -> None:
    args = _arguments()
    jobs = [
        (path, sampler, pruner)
        for path in args.tables
        for sampler in args.samplers
        if sampler not in OTHER_HOUSES or args.told == TOLD[0]
        for pruner in _pruners(sampler, args.pruners)
    ]
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        print_head()
        one = functools.partial(
            _job, seeds=args.seeds, told=args.told, max_trials=args.max_trials, neps=args.neps
        )
        for row in pool.imap(one, jobs):
            if not any(r["table"] == row["table"] for r in rows):
                judged = judged_by(read_table(_path_of(row, args.tables)), args.told)
                rows.append({**oracle_row(judged, row["table"]), "untold": untold(judged)})
                print_row(rows[-1])
                for what in rows[-1]["untold"]:
                    print(f"{row['table']:20} tells {what} only")
            rows.append(row)
            print_row(row)
    write(rows, args.json)
    if args.figure is not None:
        from benchmarks.figures import search_figure

        search_figure(rows, args.figure)


def _arguments() -> Namespace:
    """What was asked for; samplers are those that can be played here."""
    arguments = parser(__doc__)
    arguments.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    names = (OURS, *STOCK, *PEERS)
    arguments.add_argument("--samplers", type=some_of(names), metavar="A,B")
    arguments.add_argument(
        "--neps", default="", metavar="PYTHON", help="of an environment that has NePS"
    )
    usual = (*PRUNERS, *OF_THE_FRONT)
    pruners = some_of((*usual, BETWEEN))
    arguments.add_argument("--pruners", type=pruners, default=usual, metavar="A,B")
    arguments.add_argument("--told", choices=TOLD, default=TOLD[0], help="what searches are told")
    arguments.add_argument("--max-trials", type=int, default=MAX_TRIALS)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--jobs", type=int, default=2, help="processes")
    arguments.add_argument("--figure", type=Path, help="write an HTML picture of the rows")
    args = arguments.parse_args()
    here = [name for name in names if _is_there(name, args.neps)]
    missing = sorted(set(args.samplers or ()) - set(here))
    if missing:
        arguments.error(f"not installed: {', '.join(missing)}; --help says where peers come from")
    args.samplers = args.samplers or here
    return args


def _is_there(name: str, neps: str) -> bool:
    """Whether a search can be played here."""
    return neps != "" if name in NEPS else bool(find_spec(PACKAGES.get(name, "optuna")))


def _pruners(sampler: str, asked: Sequence[str]) -> Sequence[str]:
    if sampler == OURS:
        return [name for name in OUR_PRUNERS if name in asked]
    if sampler in OTHER_HOUSES:
        return ("its own",)
    return ("none",) if sampler in SLOW else [name for name in PRUNERS if name in asked]


def _path_of(row: Row, paths: Sequence[Path]) -> Path:
    return next(path for path in paths if table_name(path) == row["table"])


def _job(job: tuple[Path, str, str], *, seeds: int, told: str, max_trials: int, neps: str) -> Row:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path, sampler, pruner = job
    table = read_table(path)
    many = min(seeds, SLOW_SEEDS) if sampler in SLOW else seeds
    play = (
        functools.partial(_elsewhere, sampler, neps)
        if sampler in OTHER_HOUSES
        else functools.partial(
            play_study, name=sampler, pruner=pruner, told=told, max_trials=max_trials
        )
    )
    seen = [play(table, seed=seed) for seed in range(many)]
    return {
        "table": table_name(path),
        "sampler": sampler,
        "pruner": pruner,
        "seeds": many,
        **summary([score.outcome() for score in seen]),
    }


def _elsewhere(name: str, neps: str, table: Table, *, seed: int) -> Score:
    """One search of another house."""
    from benchmarks.peers import moasha_runs

    if name == "moasha":
        return play_runs(table, moasha_runs(table, seed=seed), name=name)
    return play_runs(table, neps_runs(table, name=name, seed=seed, python=neps), name=name)


COLUMNS = (*SHARES, "seconds_to_regret_005", "hypervolume_20", "hypervolume", "regret_worst")


def print_head() -> None:
    """Print the head of the rows."""
    print(
        f"{'table':20} {'sampler':10} {'pruner':12} {'to 90%':>7} {'to 95%':>7} {'to 98%':>7} "
        f"{'regret':>7} {'HV 20':>6} {'HV':>6} {'worst':>6} {'ask':>6}"
    )


def print_row(row: Row) -> None:
    """One line; seconds, shares and milliseconds."""
    cells = [row.get(key) for key in COLUMNS]
    widths = (7, 7, 7, 7, 6, 6, 6)
    digits = (2, 2, 2, 2, 3, 3, 3)
    said = " ".join(
        f"{cell:{width}.{digit}f}" if cell is not None else f"{'-':>{width}}"
        for cell, width, digit in zip(cells, widths, digits, strict=True)
    )
    ask = row.get("ask_seconds")
    milliseconds = f"{1000 * ask:6.1f}" if ask is not None else f"{'-':>6}"
    print(
        f"{row['table']:20} {row['sampler']:10} {row['pruner']:12} {said} {milliseconds}",
        flush=True,
    )


if __name__ == "__main__":
    main()
