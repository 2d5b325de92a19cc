"""Which learning rate is best at one batch size, and what to run to know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from batchfront.study.smallest.question import SENSITIVITY, TUNE, Question
from batchfront.study.smallest.rate_model import RateModel, is_crash, says_something
from batchfront.study.trials.rows import RunRow

APART = 3.0  # factor between the first rates of a size
SAME = 1.5  # factor within which a rate counts as tried
BEYOND = 1.2  # factor by which tried rates must lie beyond the best one, on either side
SWEEP = 7  # rates over the whole range, where nothing is known at all
ENOUGH = 5  # runs of a size, where the best rate lies between others: seeds will tell more
MAX_TUNE = 9


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """`rate` is None while runs are missing; `to_run` is empty while they are under way."""

    rate: float | None
    bracketed: bool = False  # worse rates were tried on both sides
    to_run: tuple[float, ...] = ()


def tuned(question: Question, rows: Sequence[RunRow], size: int, *, frozen: float | None) -> Tuning:
    """The state of tuning at `size`; `frozen` is the rate of the baseline, to be tried too."""
    mine = [row for row in rows if row.batch_size == size and row.purpose != SENSITIVITY]
    if any(row.purpose == TUNE and row.waits for row in mine):
        return Tuning(rate=None)
    n_tuned = sum(row.purpose == TUNE and not is_crash(row) for row in mine)
    if not any(says_something(row) for row in rows):
        return Tuning(rate=None, to_run=() if n_tuned else _sweep(question))
    tried = sorted(row.learning_rate for row in mine if says_something(row))
    best = _tidy(RateModel(rows, size).best(*_range(question, tried)))
    if n_tuned == 0:
        return Tuning(rate=None, to_run=_first(best, tried, frozen))
    missing, bracketed = _missing(best, tried), is_bracketed(best, tried)
    if missing is None or n_tuned >= (ENOUGH if bracketed else MAX_TUNE) or not tried:
        return Tuning(rate=best, bracketed=bracketed)
    return Tuning(rate=None, to_run=(_tidy(missing),))


def is_bracketed(rate: float, tried: Sequence[float]) -> bool:
    """Whether rates were tried on both sides of `rate`."""
    return any(r * BEYOND <= rate for r in tried) and any(r >= rate * BEYOND for r in tried)


def _range(question: Question, tried: Sequence[float]) -> tuple[float, float]:
    """What is searched; further where the rates that were tried reach its edge."""
    low, high = question.learning_rates
    if tried and tried[0] < low * SAME:
        low = tried[0] / APART
    if tried and tried[-1] > high / SAME:
        high = tried[-1] * APART
    return low, high


def _sweep(question: Question) -> tuple[float, ...]:
    low, high = map(math.log, question.learning_rates)
    rates = {_tidy(math.exp(low + (high - low) * (n + 0.5) / SWEEP)) for n in range(SWEEP)}
    return tuple(sorted(rates))


def _first(best: float, tried: Sequence[float], frozen: float | None) -> tuple[float, ...]:
    """The guess and one on either side, unless they were tried; the baseline's in any case."""
    wanted = [rate for rate in (best / APART, best * APART) if not _is_near(rate, tried)]
    wanted.append(best)
    if frozen is not None and frozen not in tried:
        wanted = [rate for rate in wanted if not _is_near(rate, [frozen])] + [frozen]
    return tuple(sorted(_tidy(rate) for rate in wanted))


def _missing(best: float, tried: Sequence[float]) -> float | None:
    """A rate that must be run before `best` can be believed."""
    if not any(rate * BEYOND <= best for rate in tried):
        return min([best, *tried]) / APART
    if not any(rate >= best * BEYOND for rate in tried):
        return max([best, *tried]) * APART
    return None if _is_near(best, tried) else best


def _is_near(rate: float, tried: Sequence[float]) -> bool:
    return any(max(rate / other, other / rate) <= SAME for other in tried)


def _tidy(rate: float) -> float:
    """Two digits: what a person would type."""
    return float(f"{rate:.2g}")
