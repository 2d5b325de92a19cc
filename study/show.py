"""Numbers and messages as people read them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import TO_TARGET

if TYPE_CHECKING:
    from rich.table import Table


LONGEST_LINE = 300
HEAD = 200  # characters that are kept of the beginning of a longer one
CUT = " … "
SMALL, LARGE = 0.001, 1e6  # metrics between them are written in decimals
FRACTION_DECIMALS = 3  # at least, of a metric below 1


def one_line(text: str) -> str:
    """The text as one line that prints as it is, without the middle of a long one.

    What would move the cursor, colour the terminal or break the encoding is written as Python
    would write it. Remedies come last, so the end is kept too.
    """
    text = text[:HEAD] + CUT + text[-LONGEST_LINE:] if len(text) > 4 * LONGEST_LINE else text
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text.strip())
    if len(line) <= LONGEST_LINE:
        return line
    return line[:HEAD] + CUT + line[HEAD + len(CUT) - LONGEST_LINE :]


def in_notebook() -> bool:
    """Whether we are called from a cell, below which no cursor can be moved but to its line."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


def human_bytes(n: float) -> str:
    """`1.5 KiB`, with three significant digits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1000 or unit == "GiB":
            break
        n /= 1024
    return f"{n:.0f} {unit}" if unit == "B" else f"{n:.3g} {unit}"


def counted(n: int, what: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def said_by_reason(reasons: Mapping[int, str]) -> str:
    """`1, 2 (1 run), 64 (2 runs)`: batch sizes, ascending, those of one reason together."""
    groups: dict[str, list[str]] = {}
    for size in sorted(reasons):
        groups.setdefault(reasons[size], []).append(str(size))
    return ", ".join(f"{', '.join(sizes)} ({why})" for why, sizes in groups.items())


def human_seconds(seconds: float) -> str:
    """`392 µs`, `52.9 ms`, `12.3 s`, `4 min 05 s`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 0.1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def metric_form(*values: float | None, digits: int = 4, grain: float = 0.0) -> str:
    """The format of values of one metric, one for all that are read together.

    `grain`: the least difference that means something, like that between seeds. The last place is
    at most half of it, and no more is written than that. Where nobody knows it, fractions get
    `digits` decimals, and larger values about as many digits in all.
    """
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    largest = max(sizes, default=0.0)
    before = math.floor(math.log10(largest)) if largest else 0  # the place of its first digit
    last = math.floor(math.log10(grain / 2)) if grain > 0 else None
    if not all(SMALL <= size < LARGE for size in ([largest] if grain and sizes else sizes)):
        return f".{digits if last is None else max(digits, before - last + 1)}g"
    if last is None:
        return f".{max(0, digits - max(0, before))}f"
    return f".{max(-last, FRACTION_DECIMALS if largest < 1 else 0)}f"


def said(name: str, value: float | None) -> str:
    """The value of an objective."""
    if value is None:
        return "-"
    if name == "train_seconds":
        return human_seconds(value)
    if name == "peak_memory_bytes":
        return human_bytes(value)
    if name in TO_TARGET:
        return f"{value:.10g}"
    return f"{value:{metric_form(value)}}"


def short(value: Any) -> str:
    """A parameter's value in a table; nothing where a trial has none."""
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def short_number(value: float, *, digits: int = 3) -> str:
    """So many significant digits: `0.123`, `46.8`, `46,800`."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def ratio(a: float, b: float) -> str:
    """How many times b is in a, in two digits: `0.053`, `1.4`, `290`."""
    return short_number(a / b, digits=2)


def times_the(what: str, a: float, b: float) -> str:
    """`290 times the time`, `the same memory`: a, over b."""
    said = ratio(a, b)
    return f"the same {what}" if said == "1" else f"{said} times the {what}"


def trials_word(numbers: Sequence[int]) -> str:
    """`trial 3`, `trials 3-7, 9`."""
    ordered = sorted(set(numbers))
    if not ordered:
        return "no trials"
    starts = [n for n in ordered if n - 1 not in ordered]
    ends = [n for n in ordered if n + 1 not in ordered]
    spans = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    return f"{'trial' if len(ordered) == 1 else 'trials'} {', '.join(spans)}"


def plain_table(title: str, columns: Sequence[tuple[str, str]]) -> Table:
    """A table that has no rows yet; a column is its name and how it is justified."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name, justify in columns:
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table
