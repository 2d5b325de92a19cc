"""Trials of one setting that differ in their seeds alone: which one stands for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import FAILED
from batchfront.study.trials.attributes import VERDICT, is_feasible
from batchfront.study.trials.front import pareto_front
from batchfront.study.trials.yardstick import is_minimized

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Setting = tuple[tuple[str, Any], ...]


def setting_of(trial: FrozenTrial) -> Setting:
    """What a trial was asked to train with, but for its seed."""
    return tuple(sorted(trial.params.items()))


def medians(trials: Iterable[FrozenTrial], names: Sequence[str]) -> list[FrozenTrial]:
    """Feasible trials, of each setting the one in the middle by the first objective.

    The best of several seeds is a lucky one. Seeds that failed count as worse than any; where they
    are the middle, the setting has no trial. Of an even number it is the worse of the two.
    """
    groups: dict[Setting, list[FrozenTrial]] = {}
    for trial in trials:
        if is_feasible(trial) or trial.user_attrs.get(VERDICT) in FAILED:
            groups.setdefault(setting_of(trial), []).append(trial)
    sign = -1.0 if is_minimized(names[0], names) else 1.0
    found = []
    for group in groups.values():
        good = sorted((t for t in group if is_feasible(t)), key=lambda t: sign * t.values[0])
        middle = (len(group) - 1) // 2 - (len(group) - len(good))
        if middle >= 0:
            found.append(good[middle])
    return sorted(found, key=lambda trial: trial.number)


def median_front(trials: Iterable[FrozenTrial], names: Sequence[str]) -> list[FrozenTrial]:
    """The Pareto front on which the median of its seeds stands for each setting."""
    return pareto_front(medians(trials, names), names)


def repeats_of(front: Sequence[FrozenTrial], trials: Iterable[FrozenTrial]) -> list[dict[str, Any]]:
    """The numbers and spread of the feasible trials that share a setting with each of a front."""
    groups: dict[Setting, list[FrozenTrial]] = {setting_of(trial): [] for trial in front}
    for trial in trials:
        if is_feasible(trial) and setting_of(trial) in groups:
            groups[setting_of(trial)].append(trial)
    return [_repeats(groups[setting_of(trial)] or [trial]) for trial in front]


def _repeats(group: Sequence[FrozenTrial]) -> dict[str, Any]:
    values = [trial.values[0] for trial in group]
    return {
        "n_seeds": len(group),
        "lowest": min(values),
        "highest": max(values),
        "trials": [trial.number for trial in group],
    }
