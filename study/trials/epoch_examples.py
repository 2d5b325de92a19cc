"""How many training examples a study's runs have: no run says it, but their steps do."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from batchfront.study.trials.rows import RunRow

Counted = tuple[int, int, int]  # steps and epochs at one batch size, and that size


class Examples(NamedTuple):
    """Training examples, as far as they can be told."""

    low: int
    high: int
    likely: int  # exact where a batch size divides them


def epoch_examples(rows: Iterable[RunRow]) -> Examples | None:
    """What the steps of runs leave room for; None where they do not agree, as when played back.

    T steps of exactly B examples in E epochs over N: T B <= E N < (T + 1) B. Runs of versions up to
    0.7 ended each epoch with a smaller step: of s steps an epoch, (s - 1) B < N <= s B. For powers
    of two at most one of the two can hold, but where s B is the same for all sizes: then it is N.
    """
    rows = list(rows)
    known = {row.length.n_train for row in rows if row.length is not None and row.length.n_train}
    if known:
        n = max(known)
        return Examples(n, n, n) if len(known) == 1 else None
    seen = {counted for row in rows if (counted := _counted(row)) is not None}
    if not seen:
        return None
    exact, older = _of_exact_batches(seen), _of_older_batches(seen)
    if exact is None or older is None:
        return exact or older
    return Examples(older.low, exact.high, exact.likely)


def _of_exact_batches(seen: Collection[Counted]) -> Examples | None:
    low = max(-(-steps * size // epochs) for steps, epochs, size in seen)
    high = min(-(-(steps + 1) * size // epochs) - 1 for steps, epochs, size in seen)
    return Examples(low, high, low) if low <= high else None


def _of_older_batches(seen: Collection[Counted]) -> Examples | None:
    if any(steps % epochs for steps, epochs, _ in seen):
        return None
    low = max((steps // epochs - 1) * size + 1 for steps, epochs, size in seen)
    high = min(steps // epochs * size for steps, epochs, size in seen)
    return Examples(low, high, high) if low <= high else None


def _counted(row: RunRow) -> Counted | None:
    if not (row.total_steps and row.epochs):
        return None
    if not row.phases:
        return row.total_steps, int(row.epochs), row.batch_size
    first, in_epochs = row.phases[0], row.length is None or row.length.is_plain
    return (first.steps, first.epochs, row.batch_size) if in_epochs else None
