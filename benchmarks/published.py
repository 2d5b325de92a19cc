"""What the verbs say of data that others have published, against a plain search of the same data.

    python -m benchmarks.published --step-law CLONE_OR_FILES… --rcp CLONE [--json OUT]

Clones: https://github.com/step-law/steplaw and https://github.com/mlcommons/logging. Every table is
imported as `batchfront import` does it.

`--step-law`: grids of single runs. For each grid and .5, 1 and 2% of its best loss, against the
smallest size with a run that good: `smallest` on all runs and on each half of them (every second
one, as on a chessboard; the truth stays that of the whole grid), and what freezing the rate says.
  exact, bounded, too large, too small, not shown
Then `rates`: how many sizes are shown, how many best rates of the grid lie in the interval (to half
a step of its rates, on all runs and on halves), and the law's exponent beside Theil and Sen's of
the best rates. And `advise`: by how much the loss at its recommendation is above the grid's best,
and how many sizes' nearest runs lie in their interval (nominal 0.90).

`--rcp`: tables of what seeds took to a target. `critical-batch` beside a line of Theil and Sen
through the medians, and the measured sizes beside those of a plain search.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from batchfront.study.errors import StudyError
from benchmarks.others.judged import critical_row, grid_row, smallest_rows
from benchmarks.others.reference_points import tables
from benchmarks.others.step_law import grids
from benchmarks.rows import parser, write

NEAR = 0.11  # of the other line's critical size
Row = dict[str, Any]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--step-law", type=Path, nargs="+", default=[], metavar="PATH")
    arguments.add_argument("--rcp", type=Path, metavar="CLONE")
    args = arguments.parse_args()
    if not args.step_law and args.rcp is None:
        arguments.error("nothing to look at: give --step-law or --rcp")
    rows: list[Row] = []
    try:
        for part in (step_law(args.step_law), [] if args.rcp is None else points(args.rcp)):
            rows += part
    except (StudyError, OSError) as error:
        arguments.error(str(error))
    write(rows, args.json)


def step_law(where: Sequence[Path]) -> Iterable[Row]:
    """A row for each grid and share of its best loss, and one for each grid."""
    asked: list[Row] = []
    found: list[Row] = []
    for grid in grids(where):
        for row in smallest_rows(grid):
            print("  " + said(row), flush=True)
            asked.append(row)
        found.append(grid_row(grid))
        print("  " + said(found[-1]), flush=True)
    if found:
        print("smallest, of all runs:  ", counted(row["verdict"] for row in asked))
        halves = [verdict for row in asked for verdict in row["halves"]]
        print("smallest, of half of them:", counted(halves))
        print("freezing the rate:      ", counted(row["frozen"] for row in asked))
        print("rates, advise:", said(total(found)))
    return [*asked, *found]


def points(where: Path) -> Iterable[Row]:
    """A row for each table."""
    found = []
    for table in tables(where):
        found.append(critical_row(table))
        print("  " + said(found[-1]), flush=True)
    lines = [row for row in found if row["line"] == "shown"]
    off = [abs(row["off"]) for row in lines]
    print("critical-batch:", counted(row["line"] for row in found))
    near = sum(share <= NEAR for share in off)
    if lines:
        print(
            f"of {len(lines)} lines: {near} within {NEAR:.0%} of Theil and Sen's, median "
            f"{median(off):.1%}, most {max(off):.1%}; in the interval "
            f"{sum(row['covers'] for row in lines)}"
        )
    right = sum(row["measured_right"] for row in found)
    print(f"measured first, as a plain search has it: {right} of {len(found)}")
    return found


def total(found: Sequence[Row]) -> Row:
    """The sums of what is counted, and what the exponents and losses come to."""
    sums = {k: sum(row[k] for row in found) for k, v in found[0].items() if isinstance(v, int)}
    laws = [row for row in found if row["exponent"] is not None]
    return {
        **sums,
        "grids": len(found),
        "laws": len(laws),
        "median_regret": median(row["regret"] for row in found),
        "most_regret": max(row["regret"] for row in found),
    }


def counted(verdicts: Iterable[str]) -> str:
    """`97 exact, 2 bounded`."""
    return ", ".join(f"{n} {name}" for name, n in Counter(verdicts).most_common())


def said(row: Row) -> str:
    """`name=value` of all of a row."""
    return "  ".join(f"{name}={_cell(value)}" for name, value in row.items())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    main()
