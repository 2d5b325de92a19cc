"""What single runs say, where no size has seeds enough: a weaker answer, with what could move it.

A table with one run at each batch size and learning rate holds no repeat to tell noise from. How
far its runs scatter is read from the surface: near the best rate of a size log error is a parabola
over the logarithm of the rate, and what the runs lie off it is noise, or more than that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from batchfront.study.smallest.question import PURPOSES, Question, target_of
from batchfront.study.smallest.rate_model import error_of, says_something
from batchfront.study.smallest.tuning import errors_by_rate
from batchfront.study.trials.rows import RunRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MIN_SIZES, MIN_RATES = 3, 3
NEAR = 0.7  # of log error above a size's best: so far the surface is taken for a parabola
SURE = 2.0  # deviations by which a size must miss or reach the target for a repeat not to matter
LEAST = 1e-9  # of an error


@dataclass(frozen=True, kw_only=True)
class SingleRuns:
    """The smallest size whose best run reaches the target, and between which a repeat may put it.

    Sizes in between, up to that of the best run of all, reach it as well.
    """

    answer: int | None
    learning_rate: float | None  # the best one of that size
    smallest: int | None  # that it could be if runs were repeated
    largest: int | None
    frozen_rate: float  # the best one of the size to begin with
    frozen_answer: int | None  # by the runs at that rate, or the nearest
    noise: float | None
    """Deviation of log error between repeats, by the surface; None where it says none."""
    trials: dict[int, int]  # by size: the number of its best run


def single_runs(question: Question, rows: Sequence[RunRow]) -> SingleRuns | None:
    """The weaker answer of a table of runs that nobody asked for; None where it says too little."""
    target = target_of(question, rows)
    mine = [row for row in rows if says_something(row) and row.purpose not in PURPOSES]
    by_size = {size: [r for r in mine if r.batch_size == size] for size in question.sizes}
    known = {b: some for b, some in by_size.items() if len(errors_by_rate(some)) >= MIN_RATES}
    if target is None or len(known) < MIN_SIZES:
        return None
    best = {size: min(some, key=_error) for size, some in known.items()}
    allowed = max(1 - target, LEAST)
    over = {b: math.log(max(_error(run), LEAST) / allowed) for b, run in best.items()}
    rate = best[min(best, key=lambda size: abs(math.log(size / question.start)))].learning_rate
    answer, noise = _least(over, 0.0), _noise(known)
    smallest, largest = _beside(over, answer) if noise is None else _moved(over, SURE * noise)
    return SingleRuns(
        answer=answer,
        learning_rate=None if answer is None else best[answer].learning_rate,
        smallest=smallest,
        largest=largest,
        frozen_rate=rate,
        frozen_answer=_least(_at_rate(known, rate, allowed), 0.0),
        noise=noise,
        trials={size: run.number for size, run in best.items()},
    )


def _least(over: Mapping[int, float], slack: float) -> int | None:
    """The smallest of the sizes around the best one that are over the target's log error by no more
    than the slack."""
    top = min(over, key=lambda size: over[size])
    found = None
    for size in sorted((size for size in over if size <= top), reverse=True):
        if over[size] > slack:
            break
        found = size
    return found


def _moved(over: Mapping[int, float], slack: float) -> tuple[int | None, int | None]:
    """The answers to targets easier and harder by that much of the log error."""
    return _least(over, slack), _least(over, -slack)


def _beside(over: Mapping[int, float], answer: int | None) -> tuple[int | None, int | None]:
    """One size to either side: what a repeat may do where nobody knows how far runs scatter."""
    sizes = sorted(over)
    if answer is None:
        return min(over, key=lambda size: over[size]), None
    at = sizes.index(answer)
    return sizes[max(at - 1, 0)], sizes[min(at + 1, len(sizes) - 1)]


def _at_rate(
    known: Mapping[int, Sequence[RunRow]], rate: float, allowed: float
) -> dict[int, float]:
    """Log error over what is allowed, of each size's runs nearest to a rate."""
    over = {}
    for size, some in known.items():
        apart = {run.number: abs(math.log(run.learning_rate / rate)) for run in some}
        least = min(apart.values())
        errors = [_error(run) for run in some if apart[run.number] == least]
        over[size] = math.log(max(fmean(errors), LEAST) / allowed)
    return over


def _error(run: RunRow) -> float:
    """A run that failed reaches no target, however far that is from good."""
    return error_of(run, math.inf)


def _noise(known: Mapping[int, Sequence[RunRow]]) -> float | None:
    """Deviation of log error off a parabola around each size's best rate, of all sizes together.

    Where no size has rates enough for a parabola of its own, the sizes share their bend. What
    their bends differ by then counts as noise.
    """
    points = [_near_best(some) for some in known.values()]
    found = _off_own(points)
    return _off_shared(points) if found is None else found


Points = tuple["Array", "Array"]  # log2 of rates less their mean, and log errors: (N,) each


def _near_best(some: Sequence[RunRow]) -> Points:
    """The runs of a size that came to an end near its best rate."""
    import numpy as np

    ended = [run for run in some if run.metric is not None]
    x = np.log2([run.learning_rate for run in ended])
    y = np.log(np.maximum([error_of(run) for run in ended], LEAST))
    near = y < y.min(initial=math.inf) + NEAR
    return x[near] - x[near].mean() if near.any() else x, y[near]


def _off_own(points: Sequence[Points]) -> float | None:
    import numpy as np

    enough = [(x, y) for x, y in points if len(np.unique(x)) > MIN_RATES]
    squares = sum(float(((y - np.polyval(np.polyfit(x, y, 2), x)) ** 2).sum()) for x, y in enough)
    free = sum(len(x) - 3 for x, _ in enough)
    return math.sqrt(squares / free) if free else None


def _off_shared(points: Sequence[Points]) -> float | None:
    """The sizes' own heights and slopes, and one bend: linear least squares."""
    import numpy as np

    enough = [(x, y) for x, y in points if len(np.unique(x)) >= MIN_RATES]
    free = sum(len(x) - 2 for x, _ in enough) - 1
    if free < 1:
        return None
    rows = []
    for k, (x, _) in enumerate(enough):
        own = np.zeros((len(x), 2 * len(enough)))
        own[:, 2 * k], own[:, 2 * k + 1] = 1, x
        rows.append(np.column_stack([own, x**2]))
    columns, y = np.concatenate(rows), np.concatenate([y for _, y in enough])
    found = np.linalg.lstsq(columns, y, rcond=None)[0]
    return math.sqrt(float(((y - columns @ found) ** 2).sum()) / free)
