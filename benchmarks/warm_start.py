"""What an earlier study is worth to a new one, and what one that misleads costs it.

    python -m benchmarks.warm_start TABLE… [--seeds 5] [--past same,inverted] [--json OUT]

Searches are played from recorded tables, as in benchmarks/search.py. Each is begun cold, and with
the runs of an earlier search of 30 trials that had another seed (`same`), or one that misleads:
  other      of the next table that is named, of another task or optimizer
  inverted   the same task's, its metric turned upside down
  shifted    the same task's, as if its best learning rates were 30 times as high
  both       `same` and `inverted`
  none       nothing, with other seeds than the cold start: how much is luck
Columns: what the oracle needs to 95%, as in benchmarks/search.py; seconds to 90% and 95%, medians
over the seeds, and over those of a cold start. Then median, geometric mean and worst of these
ratios over the tables. The last rows: the geometric mean over all pairs of searches of one seed,
with and without an earlier study, and the ends of its 95% interval. What a single pair differs by
is mostly luck, as `none` shows.
"""

from __future__ import annotations

import copy
import functools
import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

from batchfront.objectives.curves.table import Table, read_table
from batchfront.objectives.metric import as_metric
from batchfront.study.plan.past import PastRuns
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.past import past_runs
from batchfront.study.trials.attributes import CURVE
from benchmarks.rows import parser, some_of, table_name, write
from benchmarks.score import Row, Score, oracle_row
from benchmarks.searches import OURS, Playback

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

PAST = ("same", "other", "inverted", "shifted", "both", "none")
EARLIER_TRIALS, EARLIER_SEED, OTHER_SEED = 30, 1000, 2000
SHIFT = 30.0
NORMAL_95 = 1.96  # deviations
MAX_TRIALS = 60
KEYS = ("seconds_to_90", "seconds_to_95")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    arguments.add_argument("--past", type=some_of(PAST), default=list(PAST), metavar="A,B")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--jobs", type=int, default=2, help="processes")
    words = "play the first table, and only name the second"
    arguments.add_argument("--only-first", action="store_true", help=words)
    args = arguments.parse_args()
    jobs = list(zip(args.tables, [*args.tables[1:], args.tables[0]], strict=True))
    jobs = jobs[:1] if args.only_first else jobs
    one = functools.partial(_table_rows, kinds=args.past, seeds=args.seeds)
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for some in pool.imap(one, jobs):
            rows += some
            for row in some:
                _print(row)
    for row in totals(rows):
        _print(row)
    write(rows, args.json)


def _table_rows(paths: tuple[Path, Path], *, kinds: list[str], seeds: int) -> list[Row]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table, other = map(read_table, paths)
    name = table_name(paths[0])
    limit = oracle_row(table, name)["seconds_to_95"]
    played: dict[str, list[dict[str, float]]] = {kind: [] for kind in ("cold", *kinds)}
    for seed in range(seeds):
        trials = {id(t): earlier(t, seed) for t in (table, other)}
        for kind, outcomes in played.items():
            past = past_of(kind, table, trials[id(table)], other, trials[id(other)])
            luck = seed + (OTHER_SEED if kind == "none" else 0)
            outcomes.append(warm(table, past, luck).outcome())
    return [
        {
            "table": name, "past": kind, "seeds": seeds, "oracle": limit,
            **{key: median(o[key] for o in outcomes) for key in KEYS},
            **{f"ratio_{key}": _ratio(outcomes, played["cold"], key) for key in KEYS},
            **{f"logs_{key}": _logs(outcomes, played["cold"], key) for key in KEYS},
        }
        for kind, outcomes in played.items()
    ]  # fmt: skip


def _ratio(some: list[dict[str, float]], cold: list[dict[str, float]], key: str) -> float:
    """Median over median; what was not reached counts as infinitely late."""
    ours, theirs = (median(o[key] for o in outcomes) for outcomes in (some, cold))
    if math.isinf(theirs):
        return math.nan if math.isinf(ours) else 0.0
    return ours / theirs


def _logs(some: list[dict[str, float]], cold: list[dict[str, float]], key: str) -> list[float]:
    """Log ratios of the searches that have the same seed, where both came so far."""
    pairs = zip((o[key] for o in some), (o[key] for o in cold), strict=True)
    return [math.log(ours / theirs) for ours, theirs in pairs if math.isfinite(ours + theirs)]


def warm(table: Table, past: tuple[PastRuns, ...], seed: int) -> Score:
    """One search that begins with what is known of earlier ones, until it has enough."""
    search = Playback(table, name=OURS, pruner="front", seed=seed, past=past)
    score = Score(table=table)
    while KEYS[-1] not in score.reached and not score.is_over(MAX_TRIALS):
        score.add(search.next())
    return score


def earlier(table: Table, seed: int) -> list[FrozenTrial]:
    """The trials of a search that began cold, with another seed."""
    search = Playback(table, name=OURS, pruner="front", seed=EARLIER_SEED + seed)
    for _ in range(EARLIER_TRIALS):
        search.next()
    return search.study.get_trials(deepcopy=False)


def past_of(
    kind: str,
    table: Table,
    own: list[FrozenTrial],
    other: Table,
    others: list[FrozenTrial],
) -> tuple[PastRuns, ...]:
    """What a search of the table is told of earlier ones."""
    changes: dict[str, tuple[Table, list[FrozenTrial]]] = {
        "same": (table, own),
        "other": (other, others),
        "inverted": (table, inverted(own)),
        "shifted": (table, [_changed(t, rate=SHIFT) for t in own]),
    }
    kinds = {"cold": [], "none": [], "both": ["inverted", "same"]}.get(kind, [kind])
    found = []
    for one in kinds:
        of, trials = changes[one]
        metric = as_metric(of.metric)
        kept = past_runs(one, trials, space=space_of(table), metric=metric)
        found += [] if kept is None else [kept]
    return tuple(found)


def space_of(table: Table) -> SearchSpace:
    """What a search of a table draws from."""
    rates = [rate for size in table.batch_sizes for rate in table.learning_rates(size)]
    return SearchSpace(
        batch_sizes=tuple(table.batch_sizes), learning_rates=(min(rates), max(rates))
    )


def inverted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The same runs, of which the best was the worst; those that failed are left out."""
    told = [t.values[0] for t in trials if t.values is not None]
    ends = min(told) + max(told)
    turned: Callable[[float], float] = lambda value: ends - value  # noqa: E731
    return [_changed(t, metric=turned) for t in trials if t.values is not None]


def _changed(
    trial: FrozenTrial, *, rate: float = 1.0, metric: Callable[[float], float] | None = None
) -> FrozenTrial:
    found: Any = copy.copy(trial)
    found.params = {**trial.params, "learning_rate": trial.params["learning_rate"] * rate}
    if metric is not None and trial.values is not None:
        found.values = [metric(trial.values[0]), *trial.values[1:]]
        found.user_attrs = {
            **trial.user_attrs, CURVE: [metric(v) for v in trial.user_attrs.get(CURVE, [])]
        }  # fmt: skip
    return found


def totals(rows: list[Row]) -> list[Row]:
    """The ratios' median over the tables, their geometric mean, and the worst."""
    kinds = dict.fromkeys(row["past"] for row in rows)
    found = []
    ways: dict[str, Callable[[list[float]], float]] = {
        "median": median, "geometric mean": _geometric, "worst": max,
    }  # fmt: skip
    for name, which in ways.items():
        for kind in kinds:
            ratios = {
                f"ratio_{key}": which(
                    [
                        row[f"ratio_{key}"]
                        for row in rows
                        if row["past"] == kind and not math.isnan(row[f"ratio_{key}"])
                    ]
                    or [math.nan]
                )
                for key in KEYS
            }
            found.append({"table": name, "past": kind, **ratios})
    return found + [row for kind in kinds for row in _of_pairs(rows, kind)]


def _of_pairs(rows: list[Row], kind: str) -> list[Row]:
    """The geometric mean over all pairs, and the ends of its 95% interval."""
    logs = {
        key: [one for row in rows if row["past"] == kind for one in row[f"logs_{key}"]]
        for key in KEYS
    }
    error = {
        key: stdev(some) / len(some) ** 0.5 if len(some) > 1 else 0.0 for key, some in logs.items()
    }
    ends = {"all pairs": 0.0, "at least": -NORMAL_95, "at most": NORMAL_95}
    return [
        {
            "table": name, "past": kind,
            **{f"ratio_{key}": math.exp(mean(logs[key] or [0.0]) + z * error[key]) for key in KEYS},
        }
        for name, z in ends.items()
    ]  # fmt: skip


def _geometric(ratios: list[float]) -> float:
    return math.exp(mean(math.log(max(ratio, 0.1)) for ratio in ratios))


def _print(row: Row) -> None:
    seconds = " ".join(f"{row.get(key, math.nan):8.2f}" for key in KEYS)
    ratios = " ".join(f"{row[f'ratio_{key}']:6.2f}" for key in KEYS)
    limit = row.get("oracle", math.nan)
    print(f"{row['table']:20} {row['past']:9} {limit:7.2f} | {seconds} | {ratios}", flush=True)


if __name__ == "__main__":
    main()
