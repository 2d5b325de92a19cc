"""How soon each sampler finds the front, and the best accuracy of every batch size, on tables.

    python -m benchmarks.search TABLE… [--samplers a,b] [--seeds 15] [--json OUT] [--figure OUT]

With `--told error` or `train_loss` searches are told a loss instead of the table's metric: 1 - that
metric, or the training loss, by which they are then judged too.
A run that goes non-finite ends there for everyone; the guard and the pruner `front` belong to ours
alone. All samplers have the same training seconds: `BUDGET` times the mean cost of a batch size.
Columns, medians over the seeds (a mean for ask_seconds), null where it was not reached:
  seconds_to_90, _95, _98   training seconds until the completed runs' grid points dominate that
                            share of the table's hypervolume (as in benchmarks/pruning.py)
  hypervolume_10, _20, _40  share after so many trials; hypervolume: at the end
  regret_mean, regret_worst over batch sizes, at the end: error of the best grid point completed,
                            over that of the best one there is (averages over recorded seeds)
  seconds_to_regret_005     until every batch size is within 0.005 of its best
  ask_seconds               a call of the sampler
The row `oracle` knows the table: the cheapest runs that dominate each share, or are best of size.
Peers beyond Optuna's own need `pip install -c constraints.txt -e .[peers]` or another environment
with their packages in it.
"""

from __future__ import annotations

import functools
import itertools
import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from batchfront.objectives.curves.table import Table, read_table
from batchfront.study.plan.space import SearchSpace
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.attributes import derive_seed
from benchmarks.as_loss import TOLD, judged_by, objective_of
from benchmarks.hypervolume import hypervolume
from benchmarks.playback import Played, play_trial
from benchmarks.pruning import dominated_volume, make_rule, volume_axes
from benchmarks.rows import parser, some_of, write

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from batchfront.study.plan.past import PastRuns

Row = dict[str, Any]
BUDGET = 60  # training seconds, in mean costs of a batch size
MAX_TRIALS = 200
SHARES = {"seconds_to_90": 0.90, "seconds_to_95": 0.95, "seconds_to_98": 0.98}
COUNTS = {"hypervolume_10": 10, "hypervolume_20": 20, "hypervolume_40": 40}
NEAR = 0.005  # of the best error of a batch size
OURS = "cost-aware"
STOCK = ("tpe", "nsgaii", "nsgaiii", "qmc", "random", "grid")
SLOW = {"gp": 60, "botorch": 30}  # trials: an ask takes seconds
SLOW_SEEDS = 3
PEERS = ("gp", "botorch", "moasha")
PACKAGES = {"botorch": "botorch", "moasha": "syne_tune"}  # without them a peer is left out
PRUNERS = ("none", "median", "hyperband")
OUR_PRUNERS = ("none", "front")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    names = (OURS, *STOCK, *PEERS)
    here = [name for name in names if find_spec(PACKAGES.get(name, "optuna"))]
    arguments.add_argument("--samplers", type=some_of(names), default=here, metavar="A,B")
    pruners = (*PRUNERS, "front")
    arguments.add_argument("--pruners", type=some_of(pruners), default=pruners, metavar="A,B")
    arguments.add_argument("--told", choices=TOLD, default=TOLD[0], help="what searches are told")
    arguments.add_argument("--max-trials", type=int, default=MAX_TRIALS)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--jobs", type=int, default=2, help="processes")
    arguments.add_argument("--figure", type=Path, help="write an HTML picture of the rows")
    args = arguments.parse_args()
    jobs = [
        (path, sampler, pruner)
        for path in args.tables
        for sampler in args.samplers
        if sampler != "moasha" or args.told == TOLD[0]  # it knows errors of accuracies alone
        for pruner in _pruners(sampler, args.pruners)
    ]
    rows = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        print_head()
        one = functools.partial(_job, seeds=args.seeds, told=args.told, max_trials=args.max_trials)
        for row in pool.imap(one, jobs):
            if not any(r["table"] == row["table"] for r in rows):
                judged = judged_by(read_table(_path_of(row, args.tables)), args.told)
                rows.append(oracle_row(judged, row["table"]))
                print_row(rows[-1])
            rows.append(row)
            print_row(row)
    write(rows, args.json)
    if args.figure is not None:
        from benchmarks.figures import search_figure

        search_figure(rows, args.figure)


def _pruners(sampler: str, asked: Sequence[str]) -> Sequence[str]:
    if sampler == OURS:
        return [name for name in OUR_PRUNERS if name in asked]
    if sampler == "moasha":
        return ("its own",)
    return ("none",) if sampler in SLOW else [name for name in PRUNERS if name in asked]


def _path_of(row: Row, paths: Sequence[Path]) -> Path:
    return next(path for path in paths if table_name(path) == row["table"])


def table_name(path: Path) -> str:
    """The table's name, without its endings."""
    return path.name.removesuffix(".gz").removesuffix(".csv")


def _job(job: tuple[Path, str, str], *, seeds: int, told: str, max_trials: int) -> Row:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path, sampler, pruner = job
    table = read_table(path)
    many = min(seeds, SLOW_SEEDS) if sampler in SLOW else seeds
    play: Callable[..., Score] = (
        play_moasha
        if sampler == "moasha"
        else functools.partial(play_study, name=sampler, told=told, max_trials=max_trials)
    )
    seen = [play(table, seed=seed, pruner=pruner) for seed in range(many)]
    return {
        "table": table_name(path),
        "sampler": sampler,
        "pruner": pruner,
        "seeds": many,
        **summary([score.outcome() for score in seen]),
    }


def summary(outcomes: Sequence[dict[str, float]]) -> dict[str, float | None]:
    """Medians; null where half of the seeds did not get there."""
    row: dict[str, float | None] = {}
    for key in outcomes[0]:
        middle = (mean if key == "ask_seconds" else median)(o[key] for o in outcomes)
        row[key] = middle if math.isfinite(middle) else None
    return row


def costs_of(table: Table) -> dict[int, float]:
    """Seconds of a whole run at each batch size."""
    return {size: table.epoch_seconds(size) * table.epochs for size in table.batch_sizes}


@dataclass(kw_only=True)
class Score:
    """Follows one search."""

    table: Table
    seconds: float = 0.0
    n_trials: int = 0
    hypervolume: float = 0.0
    ask_seconds: float = 0.0
    reached: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._axes = volume_axes(self.table)
        points, reference = self._axes
        self._total = hypervolume(list(points.values()), reference)
        self._best = {
            size: min(error for (b, _), (error, *_) in points.items() if b == size)
            for size in self.table.batch_sizes
        }
        self._found = dict.fromkeys(self._best, reference[0])  # error by batch size
        self._done: list[Any] = []

    @functools.cached_property
    def budget(self) -> float:
        """Training seconds."""
        return BUDGET * mean(costs_of(self.table).values())

    def is_over(self, max_trials: int) -> bool:
        """Whether nothing more may be run."""
        return self.seconds >= self.budget or self.n_trials >= max_trials

    def add(self, played: Played) -> None:
        """One run more."""
        self.seconds += played.train_seconds
        self.n_trials += 1
        run = played.run
        error = self._axes[0][run.batch_size, run.learning_rate][0]
        if played.completed and error < self._found[run.batch_size]:
            self._found[run.batch_size] = error
            self._done.append(run)
            self.hypervolume = dominated_volume(self._axes, self._done) / self._total
        for key, share in SHARES.items():
            if self.hypervolume >= share - 1e-9:
                self.reached.setdefault(key, self.seconds)
        if max(self._regrets()) <= NEAR + 1e-9:
            self.reached.setdefault("seconds_to_regret_005", self.seconds)
        for key, count in COUNTS.items():
            if self.n_trials == count:
                self.reached[key] = self.hypervolume

    def _regrets(self) -> list[float]:
        return [self._found[size] - best for size, best in self._best.items()]

    def outcome(self) -> dict[str, float]:
        """What the whole search came to."""
        return {
            **{key: self.reached.get(key, math.inf) for key in SHARES},
            **{key: self.reached.get(key, self.hypervolume) for key in COUNTS},
            "hypervolume": self.hypervolume,
            "regret_mean": mean(self._regrets()),
            "regret_worst": max(self._regrets()),
            "seconds_to_regret_005": self.reached.get("seconds_to_regret_005", math.inf),
            "ask_seconds": self.ask_seconds / max(self.n_trials, 1),
            "trials": self.n_trials,
            "train_seconds": self.seconds,
        }


def play_study(
    table: Table,
    *,
    name: str,
    pruner: str,
    seed: int,
    told: str = TOLD[0],
    max_trials: int = MAX_TRIALS,
    past: Sequence[PastRuns] = (),
    keep: list[FrozenTrial] | None = None,
    until: str = "",
) -> Score:
    """One search of an Optuna sampler in memory, until the budget is spent.

    `past`: earlier studies, for ours; `keep`: takes the trials; `until`: of SHARES, ends it.
    """
    import optuna

    rates = [rate for size in table.batch_sizes for rate in table.learning_rates(size)]
    space = SearchSpace(
        batch_sizes=tuple(table.batch_sizes),
        learning_rates=(min(rates), max(rates)),
    )
    objective = objective_of(table, told)
    study = optuna.create_study(
        study_name=f"{table.task} {seed}",
        directions=[objective.metric.direction, "minimize", "minimize"],
        sampler=sampler_of(name, table, space, seed, past),
    )
    if told != TOLD[0]:
        with quiet_optuna():
            study.set_metric_names([objective.metric.name, "train_seconds", "peak_memory_bytes"])
    rule = make_rule(table, pruner, seed=seed, risk=0.02)
    score = Score(table=judged_by(table, told))
    while until not in score.reached and not score.is_over(
        min(SLOW.get(name, max_trials), max_trials)
    ):
        before = time.perf_counter()
        trial = study.ask(space.distributions())
        score.ask_seconds += time.perf_counter() - before
        luck = derive_seed(seed, trial.number, purpose="trial")
        score.add(play_trial(objective, study, trial, rule, seed=luck, guarded=pruner == "front"))
    if keep is not None:
        keep += study.get_trials(deepcopy=False)
    return score


def sampler_of(
    name: str, table: Table, space: SearchSpace, seed: int, past: Sequence[PastRuns] = ()
) -> optuna.samplers.BaseSampler:
    """The sampler that a study would make; ours knows the table's costs, as from a probe."""
    from batchfront.study.search.by_name import make_sampler
    from benchmarks.peers import botorch_sampler, known_limits

    if name == "botorch":
        return botorch_sampler(seed)
    limits = known_limits(table)
    return make_sampler(
        name, space=space, seed=seed, hardware="", limits=lambda study: limits, past=past
    )


def play_moasha(table: Table, *, pruner: str, seed: int) -> Score:
    """One search of Syne Tune's MOASHA."""
    from benchmarks.peers import moasha_runs

    score = Score(table=table)
    runs = moasha_runs(table, seed=seed)
    while not score.is_over(MAX_TRIALS):
        played, ask_seconds = next(runs)
        score.ask_seconds += ask_seconds
        score.add(played)
    return score


def oracle_row(table: Table, name: str) -> Row:
    """The cheapest sets of grid points; the best of each batch size is enough for every share."""
    points, reference = volume_axes(table)
    cost = costs_of(table)
    total = hypervolume(list(points.values()), reference)
    best = {b: min(p for (size, _), p in points.items() if size == b) for b in cost}
    sets: list[tuple[float, float]] = [
        (sum(cost[b] for b in some), hypervolume([best[b] for b in some], reference) / total)
        for n in range(1, len(cost) + 1)
        for some in itertools.combinations(cost, n)
    ]
    cheapest: Callable[[float], float] = lambda share: min(  # noqa: E731
        seconds for seconds, volume in sets if volume >= share - 1e-9
    )
    return {
        "table": name,
        "sampler": "oracle",
        "pruner": "",
        "seeds": 1,
        **dict.fromkeys((*COUNTS, "ask_seconds", "trials", "train_seconds")),
        **{key: cheapest(share) for key, share in SHARES.items()},
        "seconds_to_regret_005": sum(cost.values()),
        "hypervolume": 1.0,
        "regret_mean": 0.0,
        "regret_worst": 0.0,
    }


COLUMNS = (*SHARES, "seconds_to_regret_005", "hypervolume_20", "hypervolume", "regret_worst")


def print_head() -> None:
    """Print the head of the rows."""
    print(
        f"{'table':20} {'sampler':10} {'pruner':9} {'to 90%':>7} {'to 95%':>7} {'to 98%':>7} "
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
        f"{row['table']:20} {row['sampler']:10} {row['pruner']:9} {said} {milliseconds}",
        flush=True,
    )


if __name__ == "__main__":
    main()
