"""What to use: the smallest size that works is often not the one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from batchfront.study.smallest.evidence import SizeRuns, seconds_to
from batchfront.study.smallest.ladder import Walk
from batchfront.study.smallest.question import SHARE, Question, reaches
from batchfront.study.smallest.rate_model import is_crash
from batchfront.study.trials.rows import RunRow

NEAR = 1.05  # of the fastest


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The advice on which size to use, among the sizes that count."""

    fastest: int  # to the target
    fastest_seconds: float
    smallest_near_fastest: int
    least_memory: int | None
    least_memory_bytes: int | None
    answer_seconds: float | None
    halving_seconds: dict[int, float]  # by size: what it takes longer to the target than twice it
    larger: int | None  # a size above those, which single runs of the search reached it faster with
    larger_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """The ladder at the learning rate of its start, of the runs there are at that rate."""

    learning_rate: float
    answer: int | None
    n_runs: dict[int, int]
    n_reached: dict[int, int]
    trials: dict[int, list[int]]


def advice(rows: Sequence[RunRow], table: Sequence[SizeRuns], found: Walk) -> Advice | None:
    """The advice on which size to use; None where no size that counts has a known time."""
    counting = [size for size in table if size.counts]
    timed = {s.batch_size: s.seconds_to_target for s in counting if s.seconds_to_target}
    if not timed or found.target is None:
        return None
    fastest = min(timed, key=lambda size: timed[size])
    memory = {s.batch_size: s.peak_memory_bytes for s in counting if s.peak_memory_bytes}
    least = min(memory, key=lambda size: (memory[size], -size), default=None)
    larger = _larger(rows, max(timed), found.target)
    faster = larger is not None and larger[1] * NEAR < timed[fastest]
    return Advice(
        fastest=fastest,
        fastest_seconds=timed[fastest],
        smallest_near_fastest=min(s for s in timed if timed[s] <= NEAR * timed[fastest]),
        least_memory=least,
        least_memory_bytes=None if least is None else memory[least],
        answer_seconds=timed.get(found.answer or 0),
        halving_seconds={s: timed[s] - timed[2 * s] for s in sorted(timed) if 2 * s in timed},
        larger=larger[0] if larger is not None and faster else None,
        larger_seconds=larger[1] if larger is not None and faster else None,
    )


def _larger(rows: Sequence[RunRow], size: int, target: float) -> tuple[int, float] | None:
    """The fastest size above `size` by the median of its runs that reached the target."""
    seconds: dict[int, list[float]] = {}
    for row in rows:
        took = seconds_to(row, target)
        if row.batch_size > size and reaches(row, target) and took is not None:
            seconds.setdefault(row.batch_size, []).append(took)
    medians = {size: statistics.median(some) for size, some in seconds.items()}
    best = min(medians, key=lambda size: medians[size], default=None)
    return None if best is None else (best, medians[best])


def frozen(rows: Sequence[RunRow], found: Walk, question: Question) -> Frozen | None:
    """What one would have concluded who had tuned the start only; None while that is not tuned.

    Down to the first size that was not run at that rate.
    """
    start = question.start
    rate = next((s.learning_rate for s in found.looked if s.batch_size == start), None)
    if rate is None or found.target is None:
        return None
    n_runs: dict[int, int] = {}
    n_reached: dict[int, int] = {}
    trials: dict[int, list[int]] = {}
    for size in sorted((s for s in question.sizes if s <= start), reverse=True):
        tried = [r for r in rows if (r.batch_size, r.learning_rate) == (size, rate)]
        known = [row for row in tried if row.finished and not is_crash(row)]
        if not known:
            break
        n_runs[size] = len(known)
        trials[size] = [row.number for row in known]
        n_reached[size] = sum(reaches(row, found.target) for row in known)
    answer = None
    for size, n in n_runs.items():
        if n_reached[size] < math.ceil(SHARE * n - 1e-9):
            break
        answer = size
    return Frozen(
        learning_rate=rate, answer=answer, n_runs=n_runs, n_reached=n_reached, trials=trials
    )
