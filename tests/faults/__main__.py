"""`make chaos`, first half: a process ends at every point of a worker's life, on every storage.

python -m tests.faults [--storages sqlite journal] [--scenario trial] [--point 12 --when after]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from batchfront.objectives.objective import Objective
from tests.faults.catalog import by_name
from tests.faults.harness import Lanes, lanes
from tests.faults.lane import HARNESS, Result, Task
from tests.faults.planted import PLANTED, Planted
from tests.faults.points import AFTER, BEFORE, HALF, all_points
from tests.faults.preload import preload
from tests.faults.scenarios import EVERYWHERE, Scenario
from tests.faults.scene import LOST_RUN, TAKEN, WRONG

COLUMNS = ("storage", "scenario", "points", "faults", "lost", "wrong", "taken", "seconds")
Row = dict[str, object]
SORTS = (LOST_RUN, WRONG, TAKEN, HARNESS)


def main() -> int:
    """Returns 1 when anything was lost, wrong or taken."""
    args = _parser().parse_args()
    console, objective = Console(), preload()
    if args.planted:
        found = {bug.plant.__name__: list(_found(bug, objective)) for bug in PLANTED}
        (args.json or Path("/dev/stdout")).write_text(json.dumps(found, indent=1))
        return 0
    rows: list[Row] = []
    for kind in args.storages:
        try:
            with lanes(kind, objective, n=args.lanes) as open_lanes:
                for scenario in _chosen(args.scenario, kind):
                    rows.append(_row(kind, scenario, open_lanes, args, console))
                    console.print(*rows[-1].values())
                    if args.json is not None:
                        args.json.write_text(json.dumps(rows))
        except pytest.skip.Exception as why:  # no such server answers
            console.print(f"{kind}: not run: {why}")
    _show(rows, console)
    return int(any(row[sort] for row in rows for sort in SORTS))


def _found(bug: Planted, objective: Objective) -> Iterator[str]:
    """What the oracles say of a planted bug."""
    with lanes(bug.kind, objective, n=1, plant=bug.plant) as lane:
        counted = lane.counted(by_name()[bug.scenario])
        strikes = [point for point in all_points(counted.labels) if bug.strikes(point)]
        tasks = [Task(scenario=bug.scenario, point=point) for point in strikes]
        for result in (counted, *lane.done(tasks)):
            yield from (violation.says for violation in result.violations)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storages", nargs="+", default=EVERYWHERE, choices=EVERYWHERE)
    parser.add_argument("--scenario", nargs="+", default=tuple(by_name()), choices=tuple(by_name()))
    parser.add_argument("--point", type=int, help="only this one")
    parser.add_argument("--when", default=BEFORE, choices=(BEFORE, HALF, AFTER))
    parser.add_argument("--every", type=int, default=1, help="of so many points one")
    parser.add_argument("--lanes", type=int, default=4, help="faults at a time")
    parser.add_argument("--planted", action="store_true", help="find the planted bugs instead")
    parser.add_argument("--json", type=Path, help="write the table to this file too")
    return parser


def _chosen(names: list[str], kind: str) -> list[Scenario]:
    return [by_name()[name] for name in names if kind in by_name()[name].kinds]


def _results(lanes_: Lanes, scenario: Scenario, args: argparse.Namespace) -> Iterator[Result]:
    """The results of all points, or of those that were asked for."""
    if args.point is None:
        yield from lanes_.faults(scenario, every=args.every)
        return
    points = all_points(lanes_.counted(scenario).labels)
    found = [p for p in points if (p.number, p.when) == (args.point, args.when)]
    yield from lanes_.done(Task(scenario=scenario.name, point=point) for point in found)


def _row(
    kind: str, scenario: Scenario, lanes_: Lanes, args: argparse.Namespace, console: Console
) -> Row:
    """The row of the table; what is wrong is told at once."""
    begun = time.monotonic()
    sorts, n_points, n_faults = Counter[str](), 0, 0
    for result in _results(lanes_, scenario, args):
        n_points = max(n_points, len(result.labels))
        n_faults += result.n_faults
        sorts.update({violation.sort for violation in result.violations})
        for violation in result.violations:
            where = f"{kind}, {scenario.name}, {result.task.point}"
            console.print(f"{where}: {violation.sort}: {violation.says}", highlight=False)
    return {
        "storage": kind,
        "scenario": scenario.name,
        "points": n_points,
        "faults": n_faults,
        **{sort: sorts[sort] for sort in SORTS},
        "seconds": round(time.monotonic() - begun),
    }


def _show(rows: list[Row], console: Console) -> None:
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*(str(row[column]) for column in COLUMNS))
    total = sum(int(str(row["faults"])) for row in rows)
    console.print(table)
    console.print(f"{total} faults")


if __name__ == "__main__":
    sys.exit(main())
