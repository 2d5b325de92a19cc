"""One unit for a whole axis or column, named in its heading."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from batchfront.study.trials.attributes import OBJECTIVES

SECONDS, BYTES = OBJECTIVES[1:]
UNITS = {
    SECONDS: ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h")),
    BYTES: ((1.0, "B"), (2.0**10, "KiB"), (2.0**20, "MiB"), (2.0**30, "GiB")),
}
WORDS = {SECONDS: "training time", BYTES: "peak memory"}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Values are divided by `size` and stand under `title`."""

    size: float
    title: str


def words_of(name: str) -> str:
    """An objective as people call it."""
    words = name.replace("val_", "validation ").replace("r2", "R2").replace("_", " ")
    return WORDS.get(name, words)


def unit_of(name: str, values: Iterable[float | None]) -> Unit:
    """The largest unit in which the smallest of the values is one at least, as a rule."""
    words = words_of(name)
    known = [value for value in values if value is not None and value > 0]
    if name not in UNITS:
        return Unit(size=1.0, title=words)
    fitting = [unit for unit in UNITS[name] if known and unit[0] <= min(known)]
    size, short = fitting[-1] if fitting else UNITS[name][0]
    return Unit(size=size, title=f"{words} ({short})")
