"""What `smallest` could save by ending seeds whose outcome is certain: from recorded tables.

    python -m benchmarks.early_verdicts TABLE… [--walks 3] [--searched 0] [--json OUT]

The protocol is walked on each table, to targets whose error is 1.1, 1.3 and 2 times that of the
best grid point; a fresh seed is one of the recorded ones, drawn at random. Shares are of all
training seconds of a walk, means over the walks:
  seeds       spent on runs that are asked for their verdict alone. What confirms an answer is
              scored on the test split, and what tunes or shows how sensitive it is needs its metric
  oracle      what these train after their curve crossed the target for the last time: whoever
              looks at the curve alone cannot be right and save more
  known       runs that a verdict on a seed could be learned from, in the median
  saved       what a rule saves that errs with that probability a run
  first       what runs at the best grid point of each size train after they first reached the
              target, of their seconds: `critical-batch` asks for nothing that comes later
  false       of all these runs, those of which it gave a verdict that their end contradicts

The rule gives a verdict when the metric is further from the target than `margin` times what runs
usually still change by. A run's score is the least margin at which none of its epochs would have
led to a false verdict, so all looks together err with the level's probability if seeds are
exchangeable with the runs that ended before them at their batch size and its neighbours (split
conformal prediction, arXiv:1604.04173). Where fewer of these ended than the level needs, nothing is
ended early.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from batchfront.objectives.curves.table import Key, RecordedRun, Table, read_table
from batchfront.study.smallest.agenda import next_runs
from batchfront.study.smallest.question import SEEDS, Question
from batchfront.study.trials.rows import RunRow
from benchmarks.pruning import final_metric
from benchmarks.rows import parser, table_name, write
from benchmarks.seed_means import means_of
from benchmarks.worlds.walked import run_row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

HARDNESS = (1.1, 1.3, 2.0)  # of a target: its error, in errors of the best grid point
LEVELS = (0.01, 0.05, 0.1)
NEIGHBOUR = 2.0  # factor between batch sizes
FLOOR = 0.002  # of a metric: no change is known better than this
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A run that the protocol asked for, and the recorded one that was played for it."""

    run: RecordedRun
    purpose: str | None  # None: the search before, whose seconds do not count
    final: float  # -inf where it did not come to its end
    epoch_seconds: float

    @property
    def key(self) -> Key:
        """Which of the table's runs it is."""
        return self.run.batch_size, self.run.learning_rate, self.run.seed

    @property
    def seconds(self) -> float:
        """What it trains."""
        return len(self.run.val_accuracy) * self.epoch_seconds

    def after(self, epoch: int) -> float:
        """Seconds that it trains after an epoch."""
        return self.seconds - epoch * self.epoch_seconds


@dataclass(frozen=True, kw_only=True)
class Walked:
    """All runs of one walk, in their order."""

    target: float
    runs: list[Asked]

    @property
    def seconds(self) -> float:
        """All training."""
        return sum(run.seconds for run in self.runs)

    @property
    def seeds(self) -> list[tuple[int, Asked]]:
        """The runs that are asked for their verdict alone, each with its place in the walk."""
        return [(at, run) for at, run in enumerate(self.runs) if run.purpose == SEEDS]


@dataclass(frozen=True, kw_only=True)
class Early:
    """A verdict before the end of a run."""

    saved: float  # seconds
    is_false: bool


def main() -> None:
    """Parse, walk, print."""
    arguments = parser(__doc__)
    arguments.add_argument("tables", nargs="+", type=Path, metavar="TABLE")
    arguments.add_argument("--walks", type=int, default=3, help="of each table and target")
    arguments.add_argument("--searched", type=int, default=0, help="runs of a search before")
    arguments.add_argument("--jobs", type=int, default=1, help="processes")
    args = arguments.parse_args()
    rows: list[Row] = []
    one = functools.partial(row_of, n_walks=args.walks, n_searched=args.searched)
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for row in pool.imap(one, args.tables):
            rows.append(row)
            figures = (f"{k} {v:.3f}" for k, v in row.items() if k != "table")
            print("  ".join([f"{row['table']:22}", *figures]), flush=True)
    write(rows, args.json)


def row_of(path: Path, *, n_walks: int, n_searched: int) -> Row:
    """The figures of one table."""
    table = read_table(path)
    cases = [(target, seed) for target in targets(table) for seed in range(n_walks)]
    walks = [walk_of(table, target, seed, n_searched) for target, seed in cases]
    found: Row = {
        "table": table_name(path),
        "seeds": mean(sum(r.seconds for _, r in w.seeds) / w.seconds for w in walks),
        "oracle": mean(sum(surplus(r, w.target) for _, r in w.seeds) / w.seconds for w in walks),
        "first": mean(after_first(table, target) for target in targets(table)),
        "known": median(len(teachers(w, at)) for w in walks for at, _ in w.seeds),
    }
    for level in LEVELS:
        ends = [list(early_ends(walk, level)) for walk in walks]
        n_false = sum(end.is_false for some in ends for end in some)
        saved = (sum(end.saved for end in some) for some in ends)
        found[f"saved {level:g}"] = mean(s / w.seconds for s, w in zip(saved, walks, strict=True))
        found[f"false {level:g}"] = n_false / sum(len(walk.seeds) for walk in walks)
    return found


def targets(table: Table) -> list[float]:
    """The targets of a table, from hard to easy."""
    best = min(means_of(table).errors.values())
    return [1 - hardness * best for hardness in HARDNESS]


def after_first(table: Table, target: float) -> float:
    """The share of epochs that runs at the best points train after they reached the target."""
    means, shares = means_of(table), []
    for size in table.batch_sizes:
        _, rate = means.best(size)
        for seed in table.seeds(size, rate):
            curve = table.runs[size, rate, seed].val_accuracy
            first = next((n for n, value in enumerate(curve, 1) if value >= target), len(curve))
            shares.append(1 - first / len(curve))
    return mean(shares)


def walk_of(table: Table, target: float, seed: int, n_searched: int) -> Walked:
    """One walk of the protocol, down to its answer, after a search of random runs."""
    import numpy as np

    draw = np.random.default_rng(seed)
    rates = [rate for size in table.batch_sizes for rate in table.learning_rates(size)]
    sizes, between = tuple(table.batch_sizes), (min(rates), max(rates))
    asked = Question(target=target, sizes=sizes, learning_rates=between)
    rows: list[RunRow] = []
    runs: list[Asked] = []

    def run(size: int, rate: float, purpose: str | None, **how: Any) -> None:
        found = table.nearest(size, rate, int(draw.integers(2**31)))
        final = final_metric(table, found)
        metric = final if math.isfinite(final) else None
        rows.append(run_row(len(rows), size, rate, metric, purpose=purpose, **how))
        seconds = 0.0 if purpose is None else table.epoch_seconds(found.batch_size)
        runs.append(Asked(run=found, purpose=purpose, final=final, epoch_seconds=seconds))

    for _ in range(n_searched):
        run(int(draw.choice(sizes)), float(np.exp(draw.uniform(*np.log(between)))), None)
    while due := next_runs(asked, rows):
        for one in due:
            run(one.batch_size, one.learning_rate, one.purpose, score_test=one.score_test)
    return Walked(target=target, runs=runs)


def surplus(asked: Asked, target: float) -> float:
    """Seconds after its curve has crossed the target for the last time."""
    reaches = asked.final >= target
    wrong = [n for n, v in enumerate(asked.run.val_accuracy, 1) if (v >= target) != reaches]
    return asked.after(max([1, *(n + 1 for n in wrong)]))


def early_ends(walk: Walked, level: float) -> Iterator[Early]:
    """What the rule makes of each of a walk's seeds that it ends before their last epoch."""
    for at, asked in walk.seeds:
        end = early_end(asked, teachers(walk, at), walk.target, level)
        if end is not None:
            yield end


def teachers(walk: Walked, at: int) -> list[Asked]:
    """The recorded runs that a verdict on the run at a place of the walk is learned from."""
    asked = walk.runs[at]
    return list({run.key: run for run in walk.runs[:at] if _teaches(run, asked)}.values())


def _teaches(other: Asked, asked: Asked) -> bool:
    """Whether it came to its end near by, and is not the same recording."""
    size, own = other.run.batch_size, asked.run.batch_size
    near = max(size / own, own / size) <= NEIGHBOUR
    return near and math.isfinite(other.final) and other.key != asked.key


def early_end(asked: Asked, known: Sequence[Asked], target: float, level: float) -> Early | None:
    """The first verdict that is given before the last epoch; None where none is."""
    import numpy as np

    rank = math.ceil((1 - level) * (len(known) + 1))
    if rank > len(known):
        return None
    curves = np.array([run.run.val_accuracy for run in known])  # (N, E)
    final = curves[:, -1]
    usual = np.sqrt(((curves - final[:, None]) ** 2).mean(axis=0)) + FLOOR  # (E,)
    margin = np.sort(scores(curves, usual, target))[rank - 1]
    curve = np.array(asked.run.val_accuracy)
    off = np.abs(curve - target) / usual[: len(curve)]
    first = np.flatnonzero(off[: curves.shape[1] - 1] > max(margin, 0.0))
    if len(first) == 0:
        return None
    epoch = int(first[0]) + 1
    said = bool(curve[epoch - 1] >= target)
    return Early(saved=asked.after(epoch), is_false=said != (asked.final >= target))


def scores(curves: Array, usual: Array, target: float) -> Array:
    """(N,): the least margin at which none of the epochs of a curve, (N, E), misleads."""
    import numpy as np

    reaches = curves[:, -1:] >= target
    misleads = (curves >= target) != reaches
    found: Array = np.where(misleads, np.abs(curves - target) / usual, 0.0).max(axis=1)
    return found


if __name__ == "__main__":
    main()
