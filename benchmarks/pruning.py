"""What each pruner costs a multi-objective study, and what it saves: random designs on tables.

    python -m benchmarks.pruning TABLE… [--json OUT] [--figure OUT]

A run that goes non-finite ends there for everyone. Columns, means over the designs:
  front_members_killed  share of the no-pruner front that was stopped; a member is no loss when a
                        completed run within 0.005 of its accuracy took no more time and memory
  killed_beyond_noise   of these the members whose grid point is better than that of every completed
                        run that took no more time and memory, by two standard errors of their means
                        over recorded seeds (benchmarks/seed_means.py); the others were lucky with a
                        seed, or in the last epoch
  hypervolume_ratio     to no pruner; error is averaged over the seeds of a grid point
  hypervolume_of_ties   the same, points that tie with the best of their size being as good as it
  train_seconds_ratio   to no pruner
  false_stops           stopped runs a design that would have ended in the top quarter by accuracy
                        at their batch size
The last row of a table, `hindsight`, knows how every run ends and stops whatever sets no record
after its first epoch: the least time of any rule that decides after an epoch and keeps all records.
`informed` and `informed-others` know the whole table but not the noise (benchmarks/informed.py).
"""

from __future__ import annotations

import functools
import math
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles, stdev
from typing import Any

from batchfront.objectives.curves.table import RecordedRun, Table, read_table
from batchfront.objectives.length import Length
from batchfront.study.plan.plan import OF_THE_FRONT, PAUSING, RISKS
from batchfront.study.pruning.by_name import stock_pruner
from batchfront.study.pruning.decision import NeverStop, StopRule
from batchfront.study.pruning.front import FrontPruner
from batchfront.study.pruning.pausing import PausingPruner
from batchfront.study.pruning.stock import StockPruner
from benchmarks.hypervolume import hypervolume
from benchmarks.multi_metric import MultiMetricRule
from benchmarks.playback import Played, final_metric, play, random_design
from benchmarks.rows import parser, write

TIE = 0.005  # of the metric
BETWEEN = "paused-between"  # as front-paused, but runs go on as soon as they would not be paused
STOCK = ("median", "percentile", "halving", "hyperband", "threshold", "patient", "wilcoxon")
INFORMED = ("informed", "informed-others")  # with and without a run's own end in its mean
ALL_KNOWING = (*INFORMED, "hindsight")
PRUNERS = ("none", *STOCK, "multi-metric", "guard", "front", PAUSING, BETWEEN, *ALL_KNOWING)
SLOW_DESIGNS = 2  # of wilcoxon: SciPy's exact test takes up to a minute a design
Row = dict[str, Any]


def main() -> None:
    """Parse, run, print."""
    arguments = parser(__doc__)
    arguments.add_argument("tables", nargs="+", type=Path, metavar="TABLE")
    arguments.add_argument("--designs", type=int, default=30)
    arguments.add_argument("--trials", type=int, default=150, help="in a design")
    arguments.add_argument("--risk", type=float, help="of front and front-paused")
    arguments.add_argument("--pruners", nargs="+", choices=PRUNERS, default=PRUNERS)
    arguments.add_argument("--jobs", type=int, default=2, help="processes")
    arguments.add_argument("--figure", type=Path, help="write an HTML picture of the rows")
    args = arguments.parse_args()
    jobs = [(path, name) for path in args.tables for name in args.pruners]
    one = functools.partial(_job, designs=args.designs, trials=args.trials, risk=args.risk)
    rows = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        print_head()
        for row in pool.imap(one, jobs):
            rows.append(row)
            print_row(row)
    write(rows, args.json)
    if args.figure is not None:
        from benchmarks.figures import pruning_figure

        pruning_figure(rows, args.figure)


def _job(job: tuple[Path, str], *, designs: int, trials: int, risk: float | None) -> Row:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path, name = job
    table = read_table(path)
    if name == "wilcoxon":
        designs = min(designs, SLOW_DESIGNS)
    if name in INFORMED:
        from benchmarks.informed import compare_informed  # which is built on this file

        own = name == INFORMED[0]
        seen = compare_informed(table, own=own, n_trials=trials, designs=designs)
    else:
        one = functools.partial(compare, table, name, n_trials=trials, risk=risk)
        seen = [one(seed=seed) for seed in range(designs)]
    return {
        "table": path.name.removesuffix(".gz").removesuffix(".csv"),
        "pruner": name,
        "front_members_killed": sum(c.killed for c in seen) / sum(c.front for c in seen),
        "killed_beyond_noise": sum(c.killed_beyond_noise for c in seen)
        / sum(c.front for c in seen),
        "hypervolume_ratio": mean(c.hypervolume_ratio for c in seen),
        "hypervolume_of_ties": mean(c.hypervolume_of_ties for c in seen),
        "train_seconds_ratio": mean(c.train_seconds_ratio for c in seen),
        "false_stops": mean(c.false_stops for c in seen),
        "stopped": mean(c.stopped for c in seen),
        "train_seconds_ratio_sd": stdev(c.train_seconds_ratio for c in seen) if designs > 1 else 0,
        "front_members": sum(c.front for c in seen),
        "epochs": table.epochs,
        "designs": designs,
    }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One design with a pruner, against the same design with none."""

    front: int  # members without a pruner
    killed: int
    killed_beyond_noise: int
    hypervolume_ratio: float
    hypervolume_of_ties: float
    train_seconds_ratio: float
    stopped: int
    false_stops: int


def compare(table: Table, name: str, *, n_trials: int, seed: int, risk: float | None) -> Comparison:
    """Play one design twice."""
    design = random_design(table, n_trials=n_trials, seed=seed)
    free = play(table, design, NeverStop(), guarded=False)
    if name == "hindsight":
        played = in_hindsight(table, free)
    else:
        guarded = name in ("guard", BETWEEN, *OF_THE_FRONT)
        rule = make_rule(table, name, seed=seed, risk=risk)
        played = play(table, design, rule, guarded=guarded, between=name == BETWEEN)
    return compared(table, free, played)


def compared(table: Table, free: Sequence[Played], played: Sequence[Played]) -> Comparison:
    """The runs of a design as a rule left them, against the same without one."""
    from benchmarks.seed_means import axes_with_ties  # which is built on this file

    stopped = [p.run for p, f in zip(played, free, strict=True) if f.completed and not p.completed]
    front, best = front_of(table, free), top_quarter(table)
    done = [p.run for p in played if p.completed]
    lost = [run for run in front if is_lost(table, run, done)]
    whole = [f.run for f in free if f.completed]
    return Comparison(
        front=len(front),
        killed=len(lost),
        killed_beyond_noise=sum(is_told_lost(table, run, done) for run in lost),
        hypervolume_ratio=_volume_ratio(volume_axes(table), done, whole),
        hypervolume_of_ties=_volume_ratio(axes_with_ties(table), done, whole),
        train_seconds_ratio=_seconds(played) / _seconds(free),
        stopped=len(stopped),
        false_stops=sum(final_metric(table, r) >= best[r.batch_size] for r in stopped),
    )


def _volume_ratio(axes: Axes, some: Sequence[RecordedRun], whole: Sequence[RecordedRun]) -> float:
    return dominated_volume(axes, some) / dominated_volume(axes, whole)


def make_rule(table: Table, name: str, *, seed: int, risk: float | None = None) -> StopRule:
    """The rule that the rows name so; `risk`: None: that of its default."""
    if name in ("none", "guard"):
        return NeverStop()
    if name == "multi-metric":
        return MultiMetricRule(table)
    if name in (BETWEEN, *OF_THE_FRONT):
        make, usual = (
            (FrontPruner, RISKS[name]) if name == "front" else (PausingPruner, RISKS[PAUSING])
        )
        return make(
            risk=usual if risk is None else risk,
            seed=seed,
            hardware="",
            costs=dict,
            length=Length(amount=table.epochs),
        )
    lowest_quarter = quantiles(finals(table), n=4)[0]
    pruner = stock_pruner(name, n_evaluations=table.epochs, min_metric=lowest_quarter)
    return StockPruner(pruner, name=name, length=Length(amount=table.epochs))


def in_hindsight(table: Table, free: Sequence[Played]) -> list[Played]:
    """Every run that sets no record when it is complete ends after its first epoch."""
    played: list[Played] = []
    for one in free:
        before = [p.run for p in played if p.completed]
        record = one.completed and not any(beats(table, other, one.run) for other in before)
        seconds = one.train_seconds if record else table.epoch_seconds(one.run.batch_size)
        played.append(Played(run=one.run, completed=record, train_seconds=seconds))
    return played


def front_of(table: Table, free: Sequence[Played]) -> list[RecordedRun]:
    """Completed runs that no other one beats; a point drawn twice is on it once."""
    runs = list({id(f.run): f.run for f in free if f.completed}.values())
    return [run for run in runs if not any(beats(table, o, run) for o in runs if o is not run)]


def beats(table: Table, other: RecordedRun, run: RecordedRun) -> bool:
    """No worse in all three objectives and better in one; of equals, neither."""
    theirs, ours = values_of(table, other), values_of(table, run)
    return theirs != ours and all(a <= b for a, b in zip(theirs, ours, strict=True))


def values_of(table: Table, run: RecordedRun) -> tuple[float, float, float]:
    """Minimized: error, seconds of the whole run, bytes."""
    size = run.batch_size
    seconds = table.epoch_seconds(size) * table.epochs
    return -final_metric(table, run), seconds, float(table.peak_memory_bytes(size))


def is_lost(table: Table, member: RecordedRun, done: Sequence[RecordedRun]) -> bool:
    """Whether no completed run comes as close as a tie."""
    error, seconds, memory = values_of(table, member)
    return not any(
        e <= error + TIE and s <= seconds and m <= memory
        for e, s, m in (values_of(table, run) for run in done)
    )


def is_told_lost(table: Table, member: RecordedRun, done: Sequence[RecordedRun]) -> bool:
    """Whether the recorded seeds tell its grid point from those of all that cost no more."""
    from benchmarks.seed_means import means_of  # which is built on this file

    means = means_of(table)
    _, seconds, memory = values_of(table, member)
    cheap = (r for r in done if _costs_at_most(table, r, seconds, memory))
    return all(means.is_better(_point(member), _point(run)) for run in cheap)


def _costs_at_most(table: Table, run: RecordedRun, seconds: float, memory: float) -> bool:
    _, own_seconds, own_memory = values_of(table, run)
    return own_seconds <= seconds and own_memory <= memory


def _point(run: RecordedRun) -> tuple[int, float]:
    return run.batch_size, run.learning_rate


def dominated_volume(axes: Axes, runs: Sequence[RecordedRun]) -> float:
    """The volume that their grid points dominate, in error x log time x log memory."""
    points, reference = axes
    return hypervolume([points[r.batch_size, r.learning_rate] for r in runs], reference)


Axes = tuple[dict[tuple[int, float], tuple[float, float, float]], tuple[float, float, float]]


def volume_axes(table: Table) -> Axes:
    """Each grid point's coordinates, and the reference point."""
    worst = 2 * median(1 - final for final in finals(table))
    times = {b: math.log(table.epoch_seconds(b)) for b in table.batch_sizes}
    memory = {b: math.log(table.peak_memory_bytes(b)) for b in table.batch_sizes}
    points = {}
    for size in table.batch_sizes:
        for rate in table.learning_rates(size):
            ends = [
                final_metric(table, table.runs[size, rate, seed])
                for seed in table.seeds(size, rate)
            ]
            error = min(mean(1 - max(end, -1e9) for end in ends), worst)
            points[size, rate] = (error, _scaled(times, size), _scaled(memory, size))
    return points, (worst, 1.1, 1.1)


def _scaled(logs: dict[int, float], size: int) -> float:
    low, high = min(logs.values()), max(logs.values())
    return (logs[size] - low) / (high - low)


def finals(table: Table) -> list[float]:
    """Final metric of every run that has one."""
    ends = (final_metric(table, run) for run in table.runs.values())
    return [end for end in ends if math.isfinite(end)]


def top_quarter(table: Table) -> dict[int, float]:
    """The metric from which on a run belongs to the best quarter of its batch size."""
    return {
        size: quantiles(
            [max(final_metric(table, r), -1e9) for k, r in table.runs.items() if k[0] == size], n=4
        )[2]
        for size in table.batch_sizes
    }


def _seconds(played: Sequence[Played]) -> float:
    return sum(p.train_seconds for p in played)


def print_head() -> None:
    """Print the head of the rows."""
    print(
        f"{'table':22} {'pruner':13} {'killed':>8} {'told':>7} {'hypervolume':>12} {'ties':>7} "
        f"{'seconds':>8} {'sd':>6} {'stopped':>8} {'false':>7}"
    )


def print_row(row: Row) -> None:
    """One line."""
    print(
        f"{row['table']:22} {row['pruner']:13} {row['front_members_killed']:8.2%} "
        f"{row['killed_beyond_noise']:7.2%} {row['hypervolume_ratio']:12.4f} "
        f"{row['hypervolume_of_ties']:7.4f} {row['train_seconds_ratio']:8.3f} "
        f"{row['train_seconds_ratio_sd']:6.3f} {row['stopped']:8.1f} {row['false_stops']:7.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
