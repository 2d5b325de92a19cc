"""`make chaos`: storms of some minutes, and a table of what was done and what survived.

python -m tests.chaos [--minutes 2] [--only WORD] [--markdown OUT]
python -m tests.chaos --bug NAME  (of tests/chaos/crowd/bugs.py: ends with 1 when it was found)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.crowd.bugs import BUGS
from tests.chaos.crowd.crowd import Gale
from tests.chaos.crowd.places import KINDS
from tests.chaos.crowd.scenarios import MADE_ANEW, commands_raging, deck, with_bug
from tests.chaos.damage import Damage
from tests.chaos.scenarios import (
    NoTmpfs,
    full_disk,
    paused_in_a_claim,
    postgresql_restarted,
    proxy_restarted,
    raging,
    starting_together,
    torn_journal,
)
from tests.chaos.storm import Weather

CELL = 200  # characters of what is wrong that a table shows
TRIALS_PER_MINUTE = 120  # what the slowest storage gets done on two cores under all the faults


def scenarios(minutes: float) -> dict[str, Callable[[], Damage]]:
    """The scenarios by name, in the order of the table."""
    storm = Weather(n_trials=round(TRIALS_PER_MINUTE * minutes))
    short = replace(storm, n_workers=4, n_trials=60, every_seconds=0, dashboard=False)
    found: dict[str, Callable[[], Damage]] = {
        f"storm, {kind}": lambda kind=kind: raging(kind, storm)  # type: ignore[misc]
        for kind in ("sqlite", "postgresql", "journal")
    }
    found |= {
        f"8 workers of 3 commands, {kind}": lambda kind=kind: commands_raging(  # type: ignore[misc]
            kind, Gale(n_trials=round(30 * minutes), deck=deck(kind))
        )
        for kind in KINDS
    } | {
        f"studies made anew, {kind}": lambda kind=kind: commands_raging(  # type: ignore[misc]
            kind, Gale(teams=(2, 1), n_trials=round(8 * minutes), deck=MADE_ANEW)
        )
        for kind in KINDS
    }
    return found | {
        "PostgreSQL restarted": lambda: postgresql_restarted(short),
        "gRPC server restarted": lambda: proxy_restarted(short),
        "journal torn": lambda: torn_journal(short),
        "disk full, sqlite": lambda: full_disk("sqlite", short),
        "disk full, journal": lambda: full_disk("journal", short),
        "32 workers at once, sqlite": lambda: starting_together("sqlite", 32, 96),
        "8 workers at once, postgresql": lambda: starting_together("postgresql", 8, 40),
        "claim lock held by a paused worker": lambda: paused_in_a_claim("sqlite"),
    }


def main() -> int:
    """Returns 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of each storm, about")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--markdown", type=Path, help="write the table to this file too")
    parser.add_argument("--bug", choices=BUGS, help="to be planted, and found")
    args = parser.parse_args()
    console = Console()
    rows = []
    chosen = scenarios(args.minutes)
    if args.bug is not None:
        chosen = {f"planted: {args.bug}": lambda: with_bug(args.bug)}
    for name, run in chosen.items():
        if args.only not in name:
            continue
        console.print(f"{name} ...", style="dim")
        try:
            rows.append(row(name, run()))
        except NoTmpfs:
            rows.append((name, "not run: only root may mount a small disk", "", ""))
        console.print(rows[-1][-1])
    show(rows, console)
    if args.markdown is not None:
        lines = ["| scenario | faults | trials | lost or wrong |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(cells)} |" for cells in rows]
        args.markdown.write_text("\n".join(lines) + "\n")
    return int(any(cells[-1] not in ("nothing", "") for cells in rows))


def row(name: str, damage: Damage) -> tuple[str, str, str, str]:
    """Cells of the table."""
    faults = ", ".join(f"{n} {what}" for what, n in sorted(damage.faults.items()))
    counts = damage.counts
    done = f"{counts['finished']} finished, {counts['queued again']} queued again"
    wrong = [said[:CELL] for said in (*damage.wrong, *damage.errors)]
    return name, faults, f"{done}, {damage.seconds:.0f} s", "; ".join(wrong[:5]) or "nothing"


def show(rows: list[tuple[str, str, str, str]], console: Console) -> None:
    """Print the results as a table."""
    table = Table("scenario", "faults", "trials", "lost or wrong")
    for cells in rows:
        table.add_row(*cells)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
