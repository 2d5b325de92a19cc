"""What stopping early can gain where nobody knows the noise: the rows `informed` of the pruners.

A rule that knows the whole table, but not how a run's own noise goes on. After each epoch of a run
it has two guesses at the end, each with a spread (benchmarks/known_ends.py): from the mean curve of
its grid point over the recorded seeds, and from the curves of all runs of the table. So it knows
the chance that the run ends above the best completed one that costs no more.

All runs are paused after their first epoch. Then one trains an epoch more, and so on: each time the
one with the highest chance for the seconds that it has left, until no chance for them is above a
threshold. That one, and which guess counts, are chosen with hindsight on the same designs: they
take the least time that kills at most `KILLED` of the front and leaves `VOLUME` of the hypervolume.

`informed` has a run's own end in the mean of its grid point, as that of one of two to five seeds,
or of fewer where others diverged. So it knows more than the expectation: what it does not know
varies less than seeds do. The means of `informed-others` are those of the other seeds, so it knows
less than the expectation. A rule that knows expectations exactly, and nothing of the noise, is
between the two, with guesses like these.

It is no proof. A rule may guess better than these, where noise is not normal: a single run that
ends where its spread does not allow it sets the threshold of a whole table. There may be one for
each size. A rule may know that a point and seed drawn twice end the same, as in tables alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from batchfront.objectives.curves.table import Key, Table
from batchfront.study.pruning.decision import NeverStop
from benchmarks.known_ends import Guesses, by_curves, by_means
from benchmarks.playback import Played, play, random_design
from benchmarks.pruning import Comparison, compared

KILLED, VOLUME = 0.003, 0.999  # at most, and at least
Step = tuple[float, int]  # promise, no higher than the step's before; the run that trains an epoch


def compare_informed(table: Table, *, own: bool, n_trials: int, designs: int) -> list[Comparison]:
    """Each design with what is best for all of them, against the same design without a rule.

    `own`: a run's own end is part of its grid point's mean.
    """
    drawn = [random_design(table, n_trials=n_trials, seed=seed) for seed in range(designs)]
    free = [play(table, design, NeverStop(), guarded=False) for design in drawn]
    means = by_means(table, own=own)
    found = [_compare(table, drawn, free, known) for known in (means, by_curves(table, means))]
    return min(found, key=lambda seen: sum(c.train_seconds_ratio for c in seen))


def _compare(
    table: Table, drawn: list[list[Key]], free: list[list[Played]], known: Guesses
) -> list[Comparison]:
    """The same with one kind of guess."""
    paths = [best_first(table, design, known) for design in drawn]
    levels = sorted({promise for path in paths for promise, _ in path}, reverse=True)

    def at(level: float) -> list[Comparison]:
        return [
            compared(table, whole, stopped_at(table, design, path, level))
            for whole, design, path in zip(free, drawn, paths, strict=True)
        ]

    return at(levels[bisect_left(levels, True, key=lambda level: is_kept(at(level)))])


def is_kept(seen: Sequence[Comparison]) -> bool:
    """Whether as much of the fronts is left as was asked for."""
    volume = sum(c.hypervolume_ratio for c in seen) / len(seen)
    return volume >= VOLUME and sum(c.killed for c in seen) <= KILLED * sum(c.front for c in seen)


def best_first(table: Table, design: Sequence[Key], known: Guesses) -> list[Step]:
    """What a design trains after all first epochs, until every run that has an end is there.

    A promise is the log of a chance over the share of a mean run that is left to train. Runs
    without a rival promise most, and of these the one with the best guess.
    """
    import numpy as np
    from scipy.special import log_ndtr

    last = table.epochs - 1
    runs = [n for n, key in enumerate(design) if key in known.rows]
    rows = np.array([known.rows[design[n]] for n in runs])
    seconds = np.array([table.epoch_seconds(design[n][0]) for n in runs])
    memory = np.array([table.peak_memory_bytes(design[n][0]) for n in runs])
    share = seconds / (table.epochs * seconds.mean())
    at, rival = np.zeros(len(runs), dtype=int), np.full(len(runs), -math.inf)
    steps, lowest = [], math.inf
    while (going := np.flatnonzero(at < last)).size:
        guess, spread = known.mean[rows[going], at[going]], known.spread[rows[going], at[going]]
        chance = log_ndtr((guess - rival[going]) / spread)
        left = share[going] * (last - at[going])
        promise = np.where(np.isinf(rival[going]), math.inf, chance - np.log(left))
        best = np.lexsort((guess, promise))[-1]
        one, lowest = going[best], min(lowest, float(promise[best]))
        at[one] += 1
        steps.append((lowest, runs[one]))
        if at[one] == last:
            dearer = (seconds >= seconds[one]) & (memory >= memory[one])
            rival[dearer] = np.maximum(rival[dearer], known.mean[rows[one], last])
    return steps


def stopped_at(
    table: Table, design: Sequence[Key], path: Sequence[Step], level: float
) -> list[Played]:
    """What becomes of a design that trains on while a promise is at least `level`."""
    more = Counter(run for promise, run in path if promise >= level)
    return [
        Played(
            run=table.runs[key],
            completed=more[n] == table.epochs - 1,
            train_seconds=(1 + more[n]) * table.epoch_seconds(key[0]),
        )
        for n, key in enumerate(design)
    ]
