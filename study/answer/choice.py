"""Which batch size to train with, by a rule that can be said in a sentence.

Among the sizes whose fresh runs are expected within a tolerance of the best, the one that is
preferred: the fastest, unless something else is asked for. The tolerance is one deviation between
seeds at the best size: what repeating a run changes is no reason to choose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from batchfront.study.answer.known import Known
from batchfront.study.answer.model import (
    MIN_COMPLETED,
    UNKNOWN,
    Learned,
    SizeEstimate,
    estimates_of,
    learned_of,
)
from batchfront.study.answer.to_target import ToTarget, to_target_of
from batchfront.study.show import counted

Preference = Literal["fast", "memory", "metric"]
PREFERENCES: tuple[Preference, ...] = get_args(Preference)
SURE = 0.5
"""Deviations of the surface that a size's expected error must keep clear of the tolerance: a size
that nobody has looked at closely is not chosen for its luck."""
NEAR = 1.0  # doublings of batch size and of learning rate: what counts as nearby
SAME = 0.01  # relative difference of learning rates that are one
CLEARLY_LESS = 0.8  # of time or memory: worth to be offered
HURRY = 1.5  # times the best expected error, in exchange for time


@dataclass(frozen=True, kw_only=True)
class SizeAdvice:
    """One batch size."""

    batch_size: int
    estimate: SizeEstimate | None  # None: not shown
    train_seconds: float | None
    peak_memory_bytes: float | None
    n_runs: int  # at this size
    evidence: str
    trials: tuple[int, ...]  # their numbers, of the runs at this size
    reason: str  # why it is not shown; empty where it is
    to_target: ToTarget | None = None  # where there is a target, and runs say it

    @property
    def error(self) -> float:
        """The expected error; infinite where it is not shown."""
        return math.inf if self.estimate is None else self.estimate.error

    @property
    def shown(self) -> SizeEstimate:
        """The estimate of a size that is shown."""
        if self.estimate is None:
            raise ValueError(f"batch size {self.batch_size} is not shown: {self.reason}")
        return self.estimate


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to train with on one hardware."""

    sizes: Sequence[SizeAdvice]  # by batch size, ascending
    recommended: SizeAdvice | None
    best: SizeAdvice | None  # of the least expected error
    alternatives: Mapping[str, SizeAdvice]  # by what they are good for
    tolerance: float  # of the error
    is_named: bool  # the tolerance was asked for
    reason: str  # why nothing is recommended; else empty
    learned: Learned | None = None  # what the recommendation rests on


def answer_of(known: Known, *, prefer: Preference = "fast", within: float | None = None) -> Answer:
    """The answer. `within`: the tolerance, a difference in the metric."""
    n = known.n_completed
    if n < MIN_COMPLETED:
        why = f"{counted(n, 'run')} completed, wanted at least {MIN_COMPLETED}"
        return _no_answer([], why)
    return answer_from(learned_of(known), known, prefer=prefer, within=within)


def answer_from(
    learned: Learned, known: Known, *, prefer: Preference = "fast", within: float | None = None
) -> Answer:
    """The answer by what has been learned."""
    estimates = estimates_of(known, learned)
    sizes = [_size(size, estimates[size], known) for size in known.costs]
    shown = [size for size in sizes if size.estimate is not None]
    if not shown:
        return _no_answer(sizes, sizes[0].reason)
    best = min(shown, key=lambda size: size.error)
    asked = None if within is None else abs(known.yardstick.factor) * within
    tolerance = best.shown.between_seeds if asked is None else asked
    good = [size for size in shown if size is best or _is_within(size, best, tolerance)]
    chosen = _preferred(good, best, prefer)
    return Answer(
        sizes=sizes,
        recommended=chosen,
        best=best,
        alternatives=_alternatives(shown, good, best, chosen),
        tolerance=tolerance,
        is_named=within is not None,
        reason="",
        learned=learned,
    )


def _no_answer(sizes: Sequence[SizeAdvice], reason: str) -> Answer:
    return Answer(
        sizes=sizes,
        recommended=None,
        best=None,
        alternatives={},
        tolerance=0.0,
        is_named=False,
        reason=reason,
    )


def _size(size: int, estimate: SizeEstimate, known: Known) -> SizeAdvice:
    cost = known.costs[size]
    own = [row for row in known.rows if row.batch_size == size]
    reason = _why_not(estimate, known)
    return SizeAdvice(
        batch_size=size,
        estimate=None if reason else estimate,
        train_seconds=cost.train_seconds,
        peak_memory_bytes=cost.peak_memory_bytes,
        n_runs=len(own),
        evidence=_rests_on(estimate, known),
        trials=tuple(row.number for row in own),
        reason=reason,
        to_target=to_target_of(estimate, known),
    )


def _why_not(estimate: SizeEstimate, known: Known) -> str:
    if estimate.batch_size in known.broken:
        return "its runs broke a budget"
    if estimate.deviation > UNKNOWN:
        return "too few runs at it and beside it"
    return ""


def _rests_on(estimate: SizeEstimate, known: Known) -> str:
    """`5 seeds`, `2 runs, 4 nearby`, `no run, 3 nearby`: within a doubling of rate and size."""
    rates, nearby = [], 0
    for row in known.rows:
        sizes = abs(math.log2(row.batch_size / estimate.batch_size))
        apart = abs(math.log2(row.learning_rate / estimate.learning_rate))
        if sizes == 0 and apart <= NEAR:
            rates.append(row.learning_rate)
        elif sizes <= NEAR and apart <= 2 * NEAR:
            nearby += 1
    if len(rates) > 1 and max(rates) <= (1 + SAME) * min(rates):
        here = f"{len(rates)} seeds"
    else:
        here = counted(len(rates), "run") if rates else "no run"
    return f"{here}, {nearby} nearby" if nearby else here


def _is_within(size: SizeAdvice, best: SizeAdvice, tolerance: float) -> bool:
    """Whether its expected error is surely within the tolerance of the best."""
    return size.shown.error_at_most(SURE) <= best.error + tolerance


def _preferred(good: Sequence[SizeAdvice], best: SizeAdvice, prefer: Preference) -> SizeAdvice:
    if prefer == "metric":
        return best
    first, second = _seconds, _memory
    if prefer == "memory":
        first, second = second, first
    return min(good, key=lambda size: (first(size), second(size), size.error))


def _seconds(size: SizeAdvice) -> float:
    """Seconds; where they are not known, larger sizes are taken to be faster."""
    known = size.train_seconds
    return known if known is not None else 1e12 / size.batch_size


def _memory(size: SizeAdvice) -> float:
    known = size.peak_memory_bytes
    return known if known is not None else 1e18 * size.batch_size


def _alternatives(
    shown: Sequence[SizeAdvice],
    good: Sequence[SizeAdvice],
    best: SizeAdvice,
    chosen: SizeAdvice,
) -> dict[str, SizeAdvice]:
    """Up to three others, each clearly better than the recommended one in what it is for."""
    found = {}
    if best is not chosen:
        found["metric"] = best
    tie = best.shown.tie
    tolerable = [size for size in shown if size.error + tie <= HURRY * (best.error + tie)]
    fastest = min(tolerable, key=_seconds)
    if _seconds(fastest) <= CLEARLY_LESS * _seconds(chosen):
        found["fast"] = fastest
    least = CLEARLY_LESS * min(_memory(chosen), _memory(best))  # the best is named anyway
    for some in (good, tolerable):
        smallest = min(some, key=_memory)
        if _memory(smallest) < least:
            found["memory"] = smallest
            break
    return found
