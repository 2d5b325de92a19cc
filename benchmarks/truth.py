"""How often answers are true: planted worlds whose truth is known, no training.

    python -m benchmarks.truth [--parts smallest,rounds,claims,critical] [--studies 100]
        [--false-verdicts 0.05 [--shared]] [--jobs 1] [--json OUT]

`smallest` walks studies in the worlds of benchmarks/worlds/ladders.py and prints, per world and per
share of seeds that reach the target below the truth:
  right          the planted size, or that there is none
  weaker         not shown, but with a true bound
  not shown      neither
  large, small   a size above the planted one, or below it; a false bound counts as such
  found          right, of the studies in which some size reaches the target
  runs           median of a study
With `--false-verdicts` a seed's verdict is false with that probability, with `--shared` that of all
seeds of a size at once.
`rounds` does the same where runs are trained together, and so asked for in whole rounds.
`claims` prints false verdicts where no belief holds, and true ones where one does, by how far sizes
scatter. `critical` prints how often a line is shown, and how often the intervals cover the planted
critical size and the size that costs a fifth more.
"""

from __future__ import annotations

import functools
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import mean, median
from typing import Any

from benchmarks.rows import parser, some_of, write
from benchmarks.worlds.costs import COSTS, cost_study
from benchmarks.worlds.ladders import LADDERS
from benchmarks.worlds.trends import TRENDS, trend_study
from benchmarks.worlds.walked import NO_ERRORS, VERDICTS, Errors, simulate, verdict

Row = dict[str, Any]


def main() -> None:
    arguments = parser(__doc__)
    names = ("smallest", "rounds", "claims", "critical")
    arguments.add_argument("--parts", type=some_of(names), default=list(names), metavar="A,B")
    arguments.add_argument("--studies", type=int, default=100, help="of each world")
    arguments.add_argument("--jobs", type=int, default=1, help="processes")
    arguments.add_argument("--false-verdicts", type=float, default=0.0, metavar="P")
    arguments.add_argument("--shared", action="store_true", help="by all seeds of a size")
    args = arguments.parse_args()
    errors = Errors(probability=args.false_verdicts, shared=args.shared)
    ladders = functools.partial(smallest, errors=errors)
    rounds = functools.partial(ladders, in_rounds=True)
    parts = {"smallest": ladders, "rounds": rounds, "claims": claims, "critical": critical}
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for part in args.parts:
            print(part)
            for row in parts[part](pool.map, args.studies):
                print("  " + said(row), flush=True)
                rows.append({"part": part, **row})
    write(rows, args.json)


def said(row: Row) -> str:
    """`plain                studies 100  right 0.97 …`."""
    shares = (f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    return "  ".join([f"{row['world']:24}", *(cell for cell in shares if cell[:6] != "world ")])


Map = Callable[[Callable[[int], Row], Iterable[int]], list[Row]]


def smallest(
    each: Map, n: int, *, in_rounds: bool = False, errors: Errors = NO_ERRORS
) -> Iterable[Row]:
    """A row for each world, then for each share of seeds that reach the target below the truth."""
    every: list[Row] = []
    for world in LADDERS:
        some = each(functools.partial(walked, world, in_rounds, errors), range(n))
        every += some
        yield {"world": world, **outcome(some)}
    for bad in sorted({row["bad"] for row in every}):
        yield {"world": f"share {bad:g} below", **outcome([r for r in every if r["bad"] == bad])}
    yield {"world": "all", **outcome(every)}


def walked(world: str, in_rounds: bool, errors: Errors, seed: int) -> Row:
    """One study of a world."""
    case = LADDERS[world](random.Random(seed))  # noqa: S311 simulation, no secret
    asked = replace(case.asked, fused={1: True}) if in_rounds else case.asked
    found, rows = simulate(case.world, asked, seed, errors)
    is_there = case.truth is not None
    return {"verdict": verdict(case, found), "bad": case.bad, "there": is_there, "runs": len(rows)}


def outcome(studies: Sequence[Row]) -> Row:
    """Shares of verdicts."""
    counts = Counter(study["verdict"] for study in studies)
    found = [study["verdict"] == "right" for study in studies if study["there"]]
    shares = {name: counts[name] / len(studies) for name in VERDICTS}
    runs = median(study["runs"] for study in studies)
    return {"studies": len(studies), **shares, "found": mean(found), "runs": int(runs)}


def claims(each: Map, n: int) -> Iterable[Row]:
    """Verdicts on trends, by world."""
    for world in TRENDS:
        some = each(functools.partial(trend_study, world), range(n))
        yield {"world": world, "studies": n, **_means(some)}


def critical(each: Map, n: int) -> Iterable[Row]:
    """Lines shown, and what their intervals cover."""
    for world in COSTS:
        some = each(functools.partial(cost_study, world), range(n))
        yield {"world": world, "studies": n, **_means(some)}


def _means(rows: Sequence[Row]) -> Row:
    """Each figure's mean over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: mean(float(row[name]) for row in rows if name in row) for name in names}


if __name__ == "__main__":
    main()
