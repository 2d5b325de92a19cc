"""What a check finds, and the table of all that was found."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass

OK, FAILED, SKIPPED, INFO = "ok", "FAIL", "skip", "info"
MARK = "ROW "  # of a line that holds a row, between what a check prints besides


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    check: str = ""
    verdict: str
    what: str
    found: str

    def line(self) -> str:
        """The row as a check's process prints it."""
        return MARK + json.dumps(asdict(self))


def judged(good: bool, what: str, found: object) -> Row:
    """A row that is ok or FAIL."""
    return Row(verdict=OK if good else FAILED, what=what, found=str(found))


def info(what: str, found: object) -> Row:
    """A row that cannot fail."""
    return Row(verdict=INFO, what=what, found=str(found))


def rows_in(printed: str) -> list[Row]:
    """The rows among a process's lines."""
    lines = printed.splitlines()
    return [Row(**json.loads(line.removeprefix(MARK))) for line in lines if line.startswith(MARK)]


def table(rows: list[Row], *, device: str) -> str:
    """All rows in Markdown, and how many there are of each verdict."""
    head = [f"Device: {device}", "", "| check | | what | found |", "|---|---|---|---|"]
    body = [f"| {r.check} | {r.verdict} | {r.what} | {r.found.replace('|', '/')} |" for r in rows]
    n = Counter(row.verdict for row in rows)
    total = f"{n[OK]} ok, {n[FAILED]} FAIL, {n[SKIPPED]} skipped, {n[INFO]} for information"
    return "\n".join([*head, *body, "", total])
