"""What a user may set, from the command line or a TOML file, checked in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.study.errors import StudyError
from batchfront.study.plan.budget_settings import BudgetSettings
from batchfront.study.plan.search_settings import SearchSettings
from batchfront.study.plan.task_settings import TaskSettings
from batchfront.study.plan.worker_settings import WorkerSettings


@dataclass(frozen=True, kw_only=True)
class StudySettings(WorkerSettings, BudgetSettings, SearchSettings, TaskSettings):
    """One `run`, its values parsed. None means: what the study has stored, else the default."""

    techniques: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Recipe` that were named; each of them is an option, too."""
    given: Any = None
    """The task itself, where it was handed over from Python: `task` is then what it is called."""
    callbacks: tuple[Callable[..., object], ...] = ()
    """From Python: called with the Optuna study and each trial that has ended."""


def recipe_of(settings: StudySettings, base: Recipe = PLAIN) -> Recipe:
    """`base` with what the user named in place of its own.

    Raises:
        StudyError: what no run could do.
    """
    recipe = replace(base, **settings.techniques)
    try:
        recipe.check()
    except ObjectiveError as error:
        raise StudyError(str(error)) from None
    return recipe
