"""What no study could use, of all that a user may set."""

from __future__ import annotations

from batchfront.objectives.length import UNITS
from batchfront.objectives.meters.early_stopping import LAST_EPOCH
from batchfront.objectives.number import check_numbers
from batchfront.objectives.training.recipe import Recipe
from batchfront.study.commands import setting
from batchfront.study.errors import StudyError
from batchfront.study.plan.choices import LAUNCHERS, LOGS, PRUNERS, SAMPLERS
from batchfront.study.plan.parsers import (
    LONGEST,
    check_choice,
    check_study_name,
    parse_sharing,
    parse_trials,
)
from batchfront.study.plan.settings import StudySettings, recipe_of
from batchfront.study.plan.space import SCALE_RULES


def check_settings(settings: StudySettings) -> None:
    """Raise StudyError for values that no study could use."""
    try:
        check_numbers(settings)
    except ValueError as error:
        raise StudyError(str(error)) from None
    _check_ends(settings)
    _check_folders(settings)
    _check_choices(settings)
    _check_ray(settings)
    _check_scale(settings)
    if settings.min_accuracy is not None and settings.min_metric is not None:
        raise StudyError("min_accuracy is the older name of min_metric: give one of them")
    if len(settings.lengths) > 1:
        found = " and ".join(settings.lengths)
        raise StudyError(f"found {found}, wanted one of {', '.join(UNITS)}")
    recipe = recipe_of(settings)
    settings.ending(LAST_EPOCH)
    if settings.given is not None:
        _check_given(settings, recipe)


def _check_given(settings: StudySettings, recipe: Recipe) -> None:
    """Raise StudyError where other processes would have to load what lives in this one."""
    several = {
        f"n_workers is {settings.n_workers}": (settings.n_workers or 1) > 1,
        f"data_parallel is {recipe.data_parallel}": recipe.data_parallel > 1,
        f"launcher is {settings.launcher}": settings.launcher != "local",
    }
    task = settings.task
    for found in (words for words, is_so in several.items() if is_so):
        raise StudyError(
            f"{found}, and other processes cannot load {task!r}, which lives in this one: "
            f"write it into a file and give the file, as task='mine.py:{task}'"
        )


def _check_ends(settings: StudySettings) -> None:
    if settings.n_trials is not None:
        parse_trials(str(settings.n_trials))
    parse_sharing(str(settings.trials_per_gpu))
    for name in ("budget", "budget_total"):
        value = getattr(settings, name)
        if value is not None and not 0 < value <= LONGEST:
            raise StudyError(f"{name} is {value:g} s, wanted more, and at most {LONGEST:g} s")
    if settings.budget is not None and settings.budget_total is not None:
        raise StudyError("budget is of training time, budget_total of everything: give one")


def _check_folders(settings: StudySettings) -> None:
    if settings.checkpoint_dir is not None and not settings.checkpoint_dir.strip():
        raise StudyError("checkpoint_dir is empty, wanted a folder, or none")
    if not settings.data_dir.strip():
        raise StudyError("data_dir is empty, wanted a folder")


def _check_choices(settings: StudySettings) -> None:
    check_choice("launcher", settings.launcher, LAUNCHERS)
    for kind in settings.log or ():
        check_choice("log", kind, LOGS)
    if settings.sampler is not None:
        check_choice("sampler", settings.sampler, SAMPLERS)
    if settings.pruner is not None and ":" not in settings.pruner:
        check_choice("pruner", settings.pruner, (*PRUNERS, "path/to/mine.py:name"))
    if settings.pruner_risk is not None and not 0 < settings.pruner_risk < 1:
        raise StudyError(f"pruner_risk is {settings.pruner_risk:g}, wanted between 0 and 1")
    if settings.study_name is not None:
        check_study_name(settings.study_name)


def _check_ray(settings: StudySettings) -> None:
    if settings.launcher != "ray":
        return
    if settings.log or settings.callbacks:
        raise StudyError("log and callbacks are for workers of this machine, not for Ray")
    if settings.confirm is not None:
        raise StudyError(
            "confirm is for workers of this machine: leave out --launcher ray once the search has "
            "ended"
        )


def _check_scale(settings: StudySettings) -> None:
    if settings.scale_rule is not None:
        check_choice("scale_rule", settings.scale_rule, tuple(SCALE_RULES))
    if settings.scale_reference is not None and settings.scale_rule in (None, "none"):
        raise StudyError(f"scale_reference is for a scale rule: give {setting('scale_rule')} too")
