"""Paused runs: stopped ones that are kept as they were, and that another trial may go on with.

An ended trial never changes. So a paused one is superseded by the later trial that takes its run
up, and is then neither counted nor shown nor learned from: the run counts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from batchfront.study.trials.attributes import PAUSED, ROOT, THAW

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial


def is_paused(trial: FrozenTrial) -> bool:
    """Whether it ended early, and could go on from where it was."""
    return trial.state.name == "PRUNED" and PAUSED in trial.user_attrs


def is_thaw(trial: Trial | FrozenTrial) -> bool:
    """Whether it goes on with a run that was paused."""
    return THAW in trial.user_attrs


def superseded(trials: Iterable[FrozenTrial]) -> set[int]:
    """Numbers of the paused trials whose run a later one takes up; trials may be foreign, too."""
    there = list(trials)
    latest: dict[int, int] = {}
    for trial in there:
        if is_thaw(trial):
            latest[_run_of(trial)] = max(trial.number, latest.get(_run_of(trial), -1))
    if not latest:
        return set()
    return {t.number for t in there if is_paused(t) and t.number < latest.get(_run_of(t), -1)}


def _run_of(trial: FrozenTrial) -> int:
    root = trial.user_attrs.get(ROOT, trial.number)
    return root if isinstance(root, int) else trial.number
