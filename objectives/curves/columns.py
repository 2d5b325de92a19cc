"""Columns of recorded runs: which there are, what may stand in their cells, what is meant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from batchfront.objectives.measurement import TO_TARGET, Verdict

METRICS = ("val_accuracy", "val_r2")
WORDS = ("task", "optimizer", "verdict", "diverged")


@dataclass(frozen=True, kw_only=True)
class Number:
    """What a cell may hold."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # `low` itself is excluded
    whole: bool = False
    lost: bool = False  # may be NaN or infinite: the run failed, or did not get there

    def read(self, column: str, text: str) -> float:
        """The number in a cell.

        Raises:
            ValueError: it is none, or not one for this column.
        """
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{column} is {text!r}, wanted a number") from None
        if self.lost and not math.isfinite(value):
            return value
        inside = self.low <= value <= self.high and math.isfinite(value)
        if not inside or (self.above and value == self.low):
            raise ValueError(f"{column} is {text}, wanted {self}")
        if self.whole and value != int(value):
            raise ValueError(f"{column} is {text}, wanted a whole number")
        return value

    def __str__(self) -> str:
        words = "a whole number" if self.whole else "a number"
        if self.above:
            words += f" above {self.low:g}"
        elif self.low > -math.inf:
            words += f" of at least {self.low:g}"
        return words + (f" of at most {self.high:g}" if self.high < math.inf else "")


SHARE = Number(high=1.0, lost=True)  # accuracy as a fraction, or R2
NUMBERS = {
    "batch_size": Number(low=1, whole=True),
    "learning_rate": Number(low=0, above=True),
    "seed": Number(low=0, whole=True),
    "epoch": Number(low=1, whole=True),
    "epochs": Number(low=1, whole=True),  # planned
    "total_steps": Number(low=1, whole=True),  # planned
    **dict.fromkeys(METRICS, SHARE),
    "train_loss": Number(lost=True),
    "generalization_gap": Number(),
    "n_spikes": Number(low=0, whole=True),
    "train_seconds": Number(low=0, above=True),
    "peak_memory_bytes": Number(low=0, whole=True),
    **dict.fromkeys(TO_TARGET, Number(low=0, above=True, lost=True)),
}
OUTCOMES = (*METRICS, *TO_TARGET, "train_loss", "train_seconds", "peak_memory_bytes")
NEEDED = ("batch_size", "learning_rate")
KNOWN = (*NUMBERS, *WORDS)

MEANT = {  # what people also write; never taken silently, since a guess could be wrong
    "lr": "learning_rate", "baselr": "learning_rate", "rate": "learning_rate",
    "bs": "batch_size", "batch": "batch_size", "globalbatchsize": "batch_size",
    "acc": "val_accuracy", "accuracy": "val_accuracy", "valacc": "val_accuracy",
    "r2": "val_r2", "loss": "train_loss", "seconds": "train_seconds", "time": "train_seconds",
    "memory": "peak_memory_bytes", "peakmemory": "peak_memory_bytes",
}  # fmt: skip
CLOSE = 0.8  # of names that differ in a letter or two


def check_header(header: Sequence[str], needed: Sequence[str]) -> None:
    """Raise ValueError unless the columns say what was run and what came out."""
    if not header:
        raise ValueError("the file is empty, wanted a header and rows")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise ValueError("the columns are not separated by commas")
    if any(not name.strip() for name in header):
        raise ValueError("a column has no name")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"there are two columns {', '.join(twice)}")
    if set(METRICS) <= set(header):
        raise ValueError(f"both {' and '.join(METRICS)} are there, wanted one metric")
    lacking = [name for name in needed if name not in header]
    if lacking:
        raise ValueError(f"lacks the columns {', '.join(lacking)}{_advice(header, lacking)}")
    if not set(OUTCOMES) & set(header):
        advice = _advice(header, OUTCOMES)
        raise ValueError(f"lacks an outcome, one of {', '.join(OUTCOMES)}{advice}")


def _advice(header: Iterable[str], wanted: Iterable[str]) -> str:
    found = [f"rename {name!r} to {meant}" for name, meant in nearly(header) if meant in wanted]
    return f": {', '.join(found)}" if found else ""


def nearly(header: Iterable[str]) -> list[tuple[str, str]]:
    """Columns that look like one we know, and that one."""
    names = list(header)
    absent = {name.replace("_", ""): name for name in KNOWN if name not in names}
    pairs = []
    for name in names:
        plain = "".join(c for c in name.lower() if c.isalnum())
        if name in KNOWN:
            continue
        meant = MEANT.get(plain)
        if meant is None:
            close = get_close_matches(plain, absent, n=1, cutoff=CLOSE)
            meant = absent[close[0]] if close else None
        if meant is not None and meant in absent.values():
            pairs.append((name, meant))
    return pairs


def verdict_of(verdict: str, diverged: str) -> Verdict | None:
    """What the columns verdict and diverged say; None when nothing.

    Raises:
        ValueError: neither a verdict of ours nor yes or no.
    """
    if verdict:
        if verdict not in list(Verdict):
            known = ", ".join(Verdict)
            raise ValueError(f"verdict is {verdict!r}, wanted one of {known}, or nothing")
        return Verdict(verdict)
    said = diverged.lower()
    if said in ("true", "yes", "1"):
        return Verdict.DIVERGED
    if said not in ("false", "no", "0", ""):
        raise ValueError(f"diverged is {diverged!r}, wanted true or false")
    return None
