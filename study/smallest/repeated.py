"""Runs that were recorded for another purpose, judged as if they had been asked for."""

from __future__ import annotations

from collections.abc import Sequence

from batchfront.study.smallest.question import PURPOSES
from batchfront.study.smallest.rate_model import error_of, lost_error, says_something
from batchfront.study.trials.rows import RunRow


def left_out(mine: Sequence[RunRow]) -> tuple[float | None, list[RunRow]]:
    """The best rate of a size's repeated runs, and runs judged at the rate that the others choose.

    A rate that is chosen by the runs it is judged by looks better than it is: each run stands for
    the rate that all runs but those of its turn choose. The same seed twice is one run; a rate at
    which a pruner stopped runs is left out, because nobody knows what these would have reached.
    """
    groups = _repeated(mine)
    if not groups:
        return None, []
    lost = lost_error([row for group in groups.values() for row in group])
    fresh = []
    for turn in range(max(map(len, groups.values()))):
        there = {rate: group for rate, group in groups.items() if len(group) > turn}
        chosen = min(there, key=lambda rate: _mean_error(there[rate], lost, without=turn))
        fresh.append(there[chosen][turn])
    return min(groups, key=lambda rate: _mean_error(groups[rate], lost)), fresh


def _repeated(mine: Sequence[RunRow]) -> dict[float, list[RunRow]]:
    """The runs nobody asked for at each learning rate that at least two different seeds tried."""
    groups: dict[float, dict[object, RunRow]] = {}
    spoiled = set()
    for row in mine:
        if row.purpose in PURPOSES or not row.finished:
            continue
        if not says_something(row):
            spoiled.add(row.learning_rate)
        own = f"trial {row.number}" if row.seed is None else row.seed
        groups.setdefault(row.learning_rate, {}).setdefault(own, row)
    return {
        rate: list(group.values())
        for rate, group in groups.items()
        if len(group) > 1 and rate not in spoiled
    }


def _mean_error(group: Sequence[RunRow], lost: float, without: int | None = None) -> float:
    errors = [error_of(row, lost) for index, row in enumerate(group) if index != without]
    return sum(errors) / len(errors)
