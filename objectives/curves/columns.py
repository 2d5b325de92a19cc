"""Columns of recorded runs: which there are, what may stand in their cells, what is meant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches

from batchfront.objectives.measurement import TO_TARGET, Verdict
from batchfront.objectives.metric import Metric
from batchfront.objectives.number import EXACT, PERCENT, Number

METRICS = ("val_accuracy", "val_r2")
WORDS = ("task", "optimizer", "verdict", "diverged")
MOST_COLUMNS = 1000  # each that means nothing to us is kept with every run
ONE_ROW = ": number epochs 1, 2, ... and keep one row for each"


def value_as_written(text: str) -> float | str | None:
    """A number, if it prints letter for letter as `text` again; None if it prints otherwise.

    What is no number, or no finite one, stays text.
    """
    try:
        value = float(text)
    except ValueError:
        return text
    if not math.isfinite(value):
        return text
    return next((same for same in (int(value), value) if str(same) == text), None)


COUNT = Number(low=0, high=EXACT, whole=True)
ORDINAL = Number(low=1, high=EXACT, whole=True)
SHARE = Number(high=1.0, lost=True, advice=PERCENT)  # accuracy as a fraction, or R2
NUMBERS = {
    "batch_size": ORDINAL,
    "learning_rate": Number(low=0, above=True),
    "seed": Number(low=0, high=2**128 - 1, whole=True),  # NumPy draws seeds of 128 bits
    "epoch": replace(ORDINAL, advice=ONE_ROW),
    "epochs": ORDINAL,  # planned
    "total_steps": ORDINAL,  # planned
    **dict.fromkeys(METRICS, SHARE),
    "train_loss": Number(lost=True),
    "generalization_gap": Number(),
    "n_spikes": COUNT,
    "train_seconds": Number(low=0, above=True),
    "peak_memory_bytes": COUNT,
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


def number_of(metric: Metric) -> Number:
    """What a cell of a metric may hold; NaN where the run failed."""
    low, high = (metric.worst, metric.bound) if metric.maximize else (metric.bound, metric.worst)
    return Number(
        low=-math.inf if low is None else low, high=math.inf if high is None else high, lost=True
    )


def check_header(header: Sequence[str], needed: Sequence[str], metric: Metric | None) -> None:
    """Raise ValueError unless the columns say what was run and what came out."""
    if not header:
        raise ValueError("the file is empty, wanted a header and rows")
    if header[0].startswith("sep="):
        raise ValueError("it is a note for spreadsheets: delete this line")
    if _is_one_cell(header):
        raise ValueError("the columns are not separated by commas")
    if "" in header:
        at = header.index("") + 1
        raise ValueError(f"column {at} has no name: name it or leave it out (pandas: index=False)")
    if len(header) > MOST_COLUMNS:
        raise ValueError(f"there are {len(header)} columns, wanted at most {MOST_COLUMNS}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"there are two columns {', '.join(twice)}")
    if metric is not None and metric.name not in header:
        raise ValueError(
            f"lacks the column {metric.name} of the metric; it has {', '.join(header)}"
        )
    if metric is None and set(METRICS) <= set(header):
        raise ValueError(f"both {' and '.join(METRICS)} are there, wanted one metric")
    lacking = [name for name in needed if name not in header]
    if lacking:
        raise ValueError(f"lacks the columns {', '.join(lacking)}{_advice(header, lacking)}")
    if metric is None and not set(OUTCOMES) & set(header):
        advice = _advice(header, OUTCOMES)
        raise ValueError(f"lacks an outcome, one of {', '.join(OUTCOMES)}{advice}")


def _is_one_cell(header: Sequence[str]) -> bool:
    """Whether some other mark stands between the names."""
    alone = len(header) == 1 and any(mark in header[0] for mark in ";\t|")
    return alone or any(all(name in cell for name in NEEDED) for cell in header)


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


def metric_of(column: str, values: Iterable[float]) -> str:
    """R2 where any number is negative: an accuracy never is. Infinite is no number."""
    return "val_r2" if any(-math.inf < value < 0 for value in values) else column


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
