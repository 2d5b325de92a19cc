"""What other batches do at the learning rate of the answer: half, twice, one that grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchfront.study.smallest.ladder import Walk, walk
from batchfront.study.smallest.question import ADAPTIVE, SENSITIVITY, Question, reaches
from batchfront.study.smallest.rate_model import is_crash
from batchfront.study.smallest.size import Asked
from batchfront.study.trials.rows import RunRow, runs_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

N_SEEDS = 5  # of each size
GROWING = "noise-scale"  # schedule of the adaptive variant: it starts at the answer
CONFIRMED = 0.85  # of all fresh seeds of the answer, these included


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """One size at the rate of the answer."""

    batch_size: int
    learning_rate: float
    runs: tuple[RunRow, ...]
    outcomes: tuple[bool, ...]  # of these: whether each reached the target

    @property
    def n_stopped(self) -> int:
        """Runs that did not come to their end."""
        return sum(run.metric is None for run in self.runs)

    @property
    def last_sizes(self) -> list[int]:
        """Batch sizes that runs ended at, ascending."""
        last = (run.phases[-1].batch_size if run.phases else run.batch_size for run in self.runs)
        return sorted(last)


def neighbours(question: Question, rows: Sequence[RunRow], found: Walk) -> list[Neighbour]:
    """The answer and the sizes around it, as far as they were tried."""
    rate, target = rate_of(found), found.target
    if found.answer is None or rate is None or target is None:
        return []
    around = _around(question.sizes, found.answer)
    seen = [_neighbour(rows, size, rate, target) for size in around]
    return [one for one in seen if one.runs]


def judged(question: Question, rows: Sequence[RunRow]) -> Walk:
    """Where the ladder led, unless the seeds that came after it contradict.

    Sizes that succeed in seven of ten runs pass nine of ten seeds now and then; hardly ever twice.
    """
    found = walk(question, rows)
    own = next((n for n in neighbours(question, rows, found) if n.batch_size == found.answer), None)
    if found.answer is None or own is None or len(own.outcomes) < N_SEEDS:
        return found
    state = next(state for state in found.looked if state.batch_size == found.answer)
    outcomes = own.outcomes + state.outcomes
    if sum(outcomes) >= CONFIRMED * len(outcomes):
        return found
    later = (
        f"only {sum(own.outcomes)} of {len(own.outcomes)} seeds that came later reach the target"
    )
    doubted = replace(state, counts=None, why=later)
    above = [one.batch_size for one in found.looked if one.counts and one.batch_size > found.answer]
    return replace(
        found,
        answer=None,
        at_most=min(above, default=None),
        missing=doubted,
        looked=tuple(doubted if one is state else one for one in found.looked),
        reason=f"batch size {found.answer} is not clear: it passed on the way down, but {later}",
        remedy=f"run it again with --seeds {2 * question.n_seeds}",
    )


def scores_on_test(found: Walk, around: Sequence[Neighbour]) -> list[float]:
    """The test metrics of the answer's own seeds: one beside it may answer another target."""
    own = (run for one in around if one.batch_size == found.answer for run in one.runs)
    return [run.test_metric for run in own if run.test_metric is not None]


def rate_of(found: Walk) -> float | None:
    """The learning rate of the answer."""
    rates = {state.batch_size: state.learning_rate for state in found.looked}
    return None if found.answer is None else rates[found.answer]


def to_run(question: Question, rows: Sequence[RunRow], found: Walk) -> tuple[Asked, ...]:
    """What is missing of these, smallest price first."""
    rate = rate_of(found)
    if found.answer is None or rate is None:
        return ()
    asked: list[Asked] = []
    cannot = {
        state.batch_size for state in found.looked if state.counts is False and not state.fresh
    }
    around = [size for size in _around(question.sizes, found.answer) if size not in cannot]
    for size in sorted(around, reverse=True):
        n_missing = N_SEEDS - sum(
            _is_at(row, size, rate) and (row.score_test or size != found.answer) for row in rows
        )
        one = Asked(
            batch_size=size,
            learning_rate=rate,
            purpose=SENSITIVITY,
            score_test=size == found.answer,
        )
        asked += max(0, n_missing) * [one]
    return tuple(asked)


def adaptive_runs(trials: Sequence[FrozenTrial], metric_names: Sequence[str]) -> list[RunRow]:
    """The runs that started at the answer of their time and grew: no evidence on one size."""
    return runs_of(trials, metric_names, schedule=GROWING)


def adaptive(rows: Sequence[RunRow], found: Walk) -> Neighbour | None:
    """The answer with a batch that grows with the noise; None where nothing is recorded."""
    rate, target = rate_of(found), found.target
    if found.answer is None or rate is None or target is None:
        return None
    runs = tuple(row for row in rows if row.finished and _is_adaptive(row, found.answer, rate))
    outcomes = tuple(run.metric is not None and run.metric >= target for run in runs)
    one = Neighbour(batch_size=found.answer, learning_rate=rate, runs=runs, outcomes=outcomes)
    return one if runs else None


def adaptive_to_run(rows: Sequence[RunRow], found: Walk) -> tuple[Asked, ...]:
    """The runs with a growing batch that the answer still lacks; none without an answer."""
    rate = rate_of(found)
    if found.answer is None or rate is None:
        return ()
    there = [row for row in rows if _is_adaptive(row, found.answer, rate)]
    one = Asked(batch_size=found.answer, learning_rate=rate, purpose=ADAPTIVE, schedule=GROWING)
    return (N_SEEDS - sum(row.finished or row.waits for row in there)) * (one,)


def _is_adaptive(row: RunRow, size: int, rate: float) -> bool:
    return (row.purpose, row.batch_size, row.learning_rate) == (ADAPTIVE, size, rate)


def _around(sizes: Sequence[int], size: int) -> list[int]:
    """Half of a size, the size and twice the size, or the nearest there are."""
    smaller = [s for s in sizes if s < size]
    larger = [s for s in sizes if s > size]
    half = min(smaller, key=lambda s: abs(math.log(2 * s / size)), default=size)
    twice = min(larger, key=lambda s: abs(math.log(s / (2 * size))), default=size)
    return sorted({half, size, twice})


def _is_at(row: RunRow, size: int, rate: float) -> bool:
    here = (row.purpose, row.batch_size, row.learning_rate) == (SENSITIVITY, size, rate)
    return here and not is_crash(row)


def _neighbour(rows: Sequence[RunRow], size: int, rate: float, target: float) -> Neighbour:
    runs = tuple(row for row in rows if _is_at(row, size, rate) and row.finished)
    outcomes = tuple(reaches(row, target) for row in runs)
    return Neighbour(batch_size=size, learning_rate=rate, runs=runs, outcomes=outcomes)
