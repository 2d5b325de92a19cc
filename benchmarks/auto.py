"""Whether `--n-trials auto` ends searches when it should: the truth of tables against what it says.

    python -m benchmarks.auto TABLE… [--seeds 10] [--json OUT]

A search of ours is played, with the pruner `front`, until its end or the greatest number of trials.
Where it ends it states that more trials would gain less than 0.5% of the hypervolume, and at no
batch size more than a tolerance. The table knows both. Columns, over the seeds:
  ended      searches that came to their end before the greatest number
  true       of these, both statements are true; points that tie with the best of their size in the
             table are as good as it (benchmarks/seed_means.py)
  strictly   likewise, without ties
  volume     of these, the first is; sizes: the second is
  trials     median at the end
  seconds    of training until then, likewise
  hindsight  median of trials after which both had become true, with the same tolerance
  ratio      median of the two numbers' ratio, and its mean: of searches whose end was true
A batch size whose runs were all stopped because others beat them counts as run where they were.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from batchfront.objectives.curves.table import Table, read_table
from batchfront.study.plan.goal import LEAST_TRIALS, MOST_TRIALS
from batchfront.study.search.enough import LITTLE, Enough
from benchmarks.hypervolume import hypervolume
from benchmarks.peers import known_limits
from benchmarks.playback import Played
from benchmarks.pruning import Axes, volume_axes
from benchmarks.rows import parser, table_name, write
from benchmarks.searches import OURS, Playback
from benchmarks.seed_means import axes_with_ties

Row = dict[str, Any]


def main() -> None:
    """Parse, run, print."""
    arguments = parser(__doc__)
    arguments.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--jobs", type=int, default=1, help="processes")
    args = arguments.parse_args()
    rows: list[Row] = []
    every: list[End] = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        print(HEAD)
        ends = pool.imap(functools.partial(ends_of, n_seeds=args.seeds), args.tables)
        for path, some in zip(args.tables, ends, strict=True):
            name = table_name(path)
            rows += [{"table": name, "seed": seed, **vars(end)} for seed, end in enumerate(some)]
            every += some
            print(line(name, some), flush=True)
    print(line("all", every))
    write(rows, args.json)


@dataclass(frozen=True, kw_only=True)
class End:
    """One search: where it ended, and what the table says to that."""

    n_trials: int
    train_seconds: float
    ended: bool
    volume: bool  # what is said of the hypervolume is true
    sizes: bool  # what is said of batch sizes is true
    strictly: bool  # both are, without ties
    hindsight: int | None  # trials after which both had become true


def ends_of(path: Path, *, n_seeds: int) -> list[End]:
    """The ends of a table's searches."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = read_table(path)
    return [end_of(table, seed=seed) for seed in range(n_seeds)]


def end_of(table: Table, *, seed: int) -> End:
    """Play one search to its end, and ask the table."""
    search = Playback(table, name=OURS, pruner="front", seed=seed)
    enough = Enough(space=search.space, seed=seed, hardware="")
    limits, played, expected = known_limits(table), list[Played](), None
    while len(played) < MOST_TRIALS and not (expected is not None and expected.is_enough):
        played.append(search.next())
        if len(played) >= LEAST_TRIALS:
            expected = enough.look(search.study, limits)
    tolerance = {} if expected is None else {s.batch_size: s.tolerance for s in expected.sizes}
    strict = Truth(table, volume_axes(table), tolerance)
    tied = Truth(table, axes_with_ties(table), tolerance)
    became_true = next((n for n in range(1, len(played) + 1) if tied.is_true(played[:n])), None)
    return End(
        n_trials=len(played),
        train_seconds=sum(one.train_seconds for one in played),
        ended=expected is not None and expected.is_enough,
        volume=tied.volume(played),
        sizes=tied.sizes(played),
        strictly=strict.is_true(played),
        hindsight=became_true,
    )


class Truth:
    """What a table says to the two statements of an end."""

    def __init__(self, table: Table, axes: Axes, tolerance: dict[int, float]) -> None:
        self._points, self._reference = axes
        self._tolerance = tolerance
        self._total = hypervolume(list(self._points.values()), self._reference)
        self._best = {
            size: min(error for (b, _), (error, *_) in self._points.items() if b == size)
            for size in table.batch_sizes
        }

    def is_true(self, played: Sequence[Played]) -> bool:
        """Whether both statements are."""
        return self.sizes(played) and self.volume(played)

    def volume(self, played: Sequence[Played]) -> bool:
        """Whether little hypervolume is missing."""
        done = {(p.run.batch_size, p.run.learning_rate) for p in played if p.completed}
        found = hypervolume([self._points[point] for point in done], self._reference)
        return 1 - found / self._total < LITTLE

    def sizes(self, played: Sequence[Played]) -> bool:
        """Whether every size has a run within the tolerance of its best."""
        found = dict.fromkeys(self._best, self._reference[0])
        for one in played:
            size = one.run.batch_size
            error = self._points[size, one.run.learning_rate][0]
            found[size] = min(found[size], error)
        return all(
            found[size] - best <= self._tolerance.get(size, 0.0) + 1e-9
            for size, best in self._best.items()
        )


HEAD = (
    f"{'table':20} {'seeds':>5} {'ended':>5} {'true':>5} {'strictly':>8} {'volume':>6} "
    f"{'sizes':>5} {'trials':>6} {'seconds':>7} {'hindsight':>9} {'ratio':>5} {'mean':>5}"
)


def line(name: str, ends: Sequence[End]) -> str:
    """One line of the table."""
    ended = [end for end in ends if end.ended]
    if not ended:
        return f"{name:20} {len(ends):5d} {0:5d}"
    right = [end for end in ended if end.volume and end.sizes]
    hindsight = [end.hindsight for end in right if end.hindsight is not None]
    ratios = [end.n_trials / end.hindsight for end in right if end.hindsight is not None]
    shares = [
        len(right) / len(ended),
        *(mean(getattr(e, what) for e in ended) for what in ("strictly", "volume", "sizes")),
    ]
    said = " ".join(f"{s:{w}.2f}" for s, w in zip(shares, (5, 8, 6, 5), strict=True))
    late = f"{median(hindsight):9g} {median(ratios):5.2f} {mean(ratios):5.2f}" if right else ""
    trials = median(end.n_trials for end in ended)
    seconds = median(end.train_seconds for end in ended)
    counts = f"{len(ends):5d} {len(ended):5d}"
    return f"{name:20} {counts} {said} {trials:6g} {seconds:7.1f} {late}"


if __name__ == "__main__":
    main()
