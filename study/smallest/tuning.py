"""Which learning rate is best at one batch size, and what to run to know."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from batchfront.study.smallest import rounds
from batchfront.study.smallest.question import SENSITIVITY, TUNE, Question
from batchfront.study.smallest.rate_model import (
    RateModel,
    error_of,
    is_crash,
    lost_error,
    says_something,
)
from batchfront.study.trials.rows import RunRow

APART = 3.0  # factor between the first rates of a size
SAME = 1.5  # factor within which a rate counts as tried
BEYOND = 1.2  # factor by which tried rates must lie beyond the best one, on either side
SWEEP = 7  # rates over the whole range, where nothing is known at all
ENOUGH = 5  # runs of a size, where the best rate lies between others: seeds will tell more
MAX_TUNE = 9
MAX_EDGE = 12  # the same, where seeds failed at the edge of what was tried
BESIDE = 2  # runs at half and at twice a rate whose seeds failed narrowly


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
    pace = Pace(in_rounds=question.in_rounds(size))
    if not any(says_something(row) for row in rows):
        return Tuning(rate=None, to_run=() if n_tuned else pace.sweep(question))
    tried = sorted(row.learning_rate for row in mine if says_something(row))
    model, found = RateModel(rows, size), reach(mine, *_range(question, tried))
    if n_tuned == 0:
        best = _tidy(model.best(*_range(question, tried)))
        return Tuning(rate=None, to_run=pace.first(best, tried, frozen))
    if found is None and n_tuned < pace.most:  # whatever ran to its end must have been slower
        return Tuning(rate=None, to_run=pace.more(tried[0] / APART, tried))
    best = _tidy(model.best(*(found or _range(question, tried))))
    bracketed = is_bracketed(best, tried)
    seen = _best_seen(mine)
    beyond = None if seen is None else _missing(seen, tried)
    missing = beyond or _missing(best, tried)
    enough = pace.enough if bracketed and beyond is None else pace.most
    if missing is None or n_tuned >= enough or not tried:
        return Tuning(rate=best, bracketed=bracketed)
    return Tuning(rate=None, to_run=pace.more(missing, tried))


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many rates are asked for at once: as few as will do, or whole rounds of them."""

    in_rounds: bool

    @property
    def enough(self) -> int:
        """Runs of a size, where the best rate lies between others: seeds will tell more."""
        return rounds.WIDTH if self.in_rounds else ENOUGH

    @property
    def most(self) -> int:
        """Runs of a size."""
        return rounds.MOST if self.in_rounds else MAX_TUNE

    def sweep(self, question: Question) -> tuple[float, ...]:
        """Rates over the whole range, where nothing is known at all."""
        return _sweep(question, rounds.WIDTH if self.in_rounds else SWEEP)

    def first(self, best: float, tried: Sequence[float], frozen: float | None) -> tuple[float, ...]:
        """The first rates of a size."""
        if self.in_rounds:
            return _all_tidy(rounds.first_round(best, frozen))
        return _first(best, tried, frozen)

    def more(self, missing: float, tried: Sequence[float]) -> tuple[float, ...]:
        """The next rates of a size, where one at least must be run."""
        return _all_tidy(rounds.next_round(missing, tried) if self.in_rounds else [missing])


def reach(mine: Sequence[RunRow], low: float, high: float) -> tuple[float, float] | None:
    """Between which rates the best of a size may lie, by the size's own runs alone.

    Not far from the best that ran, and below those from which on up all failed: sizes are off any
    law that they share, so what it says is believed near to what was seen. None: no run came to
    its end, though some ran.
    """
    tried = [row.learning_rate for row in mine if says_something(row)]
    best = _best_seen(mine)
    if not tried:
        return low, high
    if best is None:
        return None
    last = max(row.learning_rate for row in mine if row.finished and row.metric is not None)
    cliff = min((rate for rate in tried if rate > last), default=math.inf)
    return best / APART, min(best * APART, math.sqrt(last * cliff))


def _best_seen(mine: Sequence[RunRow]) -> float | None:
    """The rate with the least mean error, of those at which a run came to its end."""
    errors = errors_by_rate(mine)
    ended = {row.learning_rate for row in mine if row.finished and row.metric is not None}
    return min(ended, key=lambda rate: fmean(errors[rate]), default=None)


def around(mine: Sequence[RunRow], rate: float) -> tuple[float, ...]:
    """Runs at half and twice a rate that a size still lacks, where its seeds failed narrowly."""
    asked: list[float] = []
    for other in (_tidy(rate / 2), _tidy(rate * 2)):
        n_there = sum(r.learning_rate == other and not is_crash(r) for r in mine)
        asked += (BESIDE - n_there) * [other]
    return tuple(asked)


def edge(mine: Sequence[RunRow], rate: float) -> tuple[float, ...]:
    """A rate beyond the tried ones, where `rate` is the last on its side; none after many runs."""
    if any(r.purpose == TUNE and r.waits for r in mine):
        return ()
    n_tuned = sum(r.purpose == TUNE and not is_crash(r) for r in mine)
    beyond = _missing(rate, [r.learning_rate for r in mine if says_something(r)])
    return () if beyond is None or n_tuned >= MAX_EDGE else (_tidy(beyond),)


def seen_better(mine: Sequence[RunRow], target: float, tried: Collection[float]) -> float | None:
    """The rate with the best runs of a size, if they reach the target and none `tried` is better.

    A mean of few runs is taken for one deviation worse than it is: one of them may be lucky.
    """
    errors = errors_by_rate(mine)
    spreads = [stdev(some) for some in errors.values() if len(some) > 2]
    noise = median(spreads) if spreads else 0.0
    worse = {rate: fmean(some) + noise / math.sqrt(len(some)) for rate, some in errors.items()}
    best = min(worse, key=lambda rate: worse[rate], default=None)
    if best is None or best in tried or fmean(errors[best]) > 1 - target:
        return None
    return best


def errors_by_rate(mine: Sequence[RunRow]) -> dict[float, list[float]]:
    """The errors of a size's runs by their learning rate; one that failed is as bad as any."""
    known = [row for row in mine if says_something(row)]
    lost = lost_error(known)
    errors: dict[float, list[float]] = {}
    for row in known:
        errors.setdefault(row.learning_rate, []).append(error_of(row, lost))
    return errors


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


def _sweep(question: Question, n_rates: int) -> tuple[float, ...]:
    low, high = map(math.log, question.learning_rates)
    step = (high - low) / n_rates
    return tuple(sorted(set(_all_tidy(math.exp(low + step * (n + 0.5)) for n in range(n_rates)))))


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


def _all_tidy(rates: Iterable[float]) -> tuple[float, ...]:
    return tuple(_tidy(rate) for rate in rates)


def _tidy(rate: float) -> float:
    """Two digits: what a person would type."""
    return float(f"{rate:.2g}")
