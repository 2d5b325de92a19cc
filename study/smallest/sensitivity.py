"""What other batches do at the learning rate of the answer: half, twice, one that grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.study.smallest.confirm import MOST, n_missing
from batchfront.study.smallest.ladder import Walk
from batchfront.study.smallest.question import ADAPTIVE, SENSITIVITY, Question, reaches
from batchfront.study.smallest.rate_model import is_crash
from batchfront.study.smallest.size import Asked
from batchfront.study.trials.rows import RunRow, runs_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

N_SEEDS = 5  # of each size
GROWING = "noise-scale"  # schedule of the adaptive variant: it starts at the answer


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


def scores_on_test(found: Walk, around: Sequence[Neighbour]) -> list[float]:
    """The test metrics of the answer's own seeds: one beside it may answer another target."""
    own = (run for one in around if one.batch_size == found.answer for run in one.runs)
    return [run.test_metric for run in own if run.test_metric is not None]


def rate_of(found: Walk) -> float | None:
    """The learning rate of the answer."""
    state = found.state(found.answer)
    return None if state is None else state.learning_rate


def to_run(question: Question, rows: Sequence[RunRow], found: Walk) -> tuple[Asked, ...]:
    """What is missing of these: first what shows that the answer stands, then smallest price."""
    state = found.state(found.candidate)
    if state is None or state.learning_rate is None:
        return ()
    size, rate = state.batch_size, state.learning_rate
    own = [row for row in rows if _is_at(row, size, rate)]
    missing = n_missing(state.outcomes, len(question.sizes))
    if missing and any(row.waits for row in own):
        return ()
    scored = sum(row.score_test for row in own)
    in_rounds = question.in_rounds(size)
    at_once = min(missing, MOST - len(state.outcomes) if in_rounds else N_SEEDS)
    asked = _asked(size, rate, max(at_once, N_SEEDS - scored), score=True)
    return asked if missing or found.answer is None else asked + _others(question, rows, found)


def _others(question: Question, rows: Sequence[RunRow], found: Walk) -> tuple[Asked, ...]:
    """The sizes around the answer at its rate."""
    rate = rate_of(found)
    cannot = {
        state.batch_size for state in found.looked if state.counts is False and not state.fresh
    }
    asked: tuple[Asked, ...] = ()
    for size in sorted(_around(question.sizes, found.answer or 0), reverse=True):
        if size not in cannot and size != found.answer and rate is not None:
            n_there = sum(_is_at(row, size, rate) for row in rows)
            asked += _asked(size, rate, N_SEEDS - n_there)
    return asked


def _asked(size: int, rate: float, n: int, *, score: bool = False) -> tuple[Asked, ...]:
    one = Asked(batch_size=size, learning_rate=rate, purpose=SENSITIVITY, score_test=score)
    return max(0, n) * (one,)


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
