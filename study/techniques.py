"""Settings of how runs train, as a `Recipe`; what is left open comes from the study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from objectives.measurement import ObjectiveError
from objectives.recipe import MICRO, PLAIN, PRECISION, Recipe
from study.errors import StudyError
from study.space import parse_batch_sizes

if TYPE_CHECKING:
    from optuna import Study

    from objectives.load import Objective
    from study.settings import StudySettings

SAME_NAMES = (
    "schedule",
    "rate_schedule",
    "warmup_examples",
    "beta2_half_life",
    "ghost_batch_size",
    "checkpoint_activations",
    "data_parallel",
    "shards",
)


def recipe_of(settings: StudySettings, base: Recipe = PLAIN) -> Recipe:
    """`base` with what the user named in place of its own.

    Raises:
        StudyError: what no run could do.
    """
    given: dict[str, Any] = {name: getattr(settings, name) for name in SAME_NAMES}
    named = {name: value for name, value in given.items() if value is not None}
    if settings.precision is not None:
        named["precisions"] = tuple(part.strip() for part in settings.precision.split(","))
    if settings.micro_batch_sizes is not None:
        named["micro_batch_sizes"] = parse_batch_sizes(settings.micro_batch_sizes)
    recipe = replace(base, **named)
    try:
        recipe.check()
    except ObjectiveError as error:
        raise StudyError(str(error)) from None
    return recipe


def recipe_in(fingerprint: Mapping[str, str]) -> Recipe:
    """Of an objective."""
    return Recipe.from_stored(fingerprint.get("recipe", ""))


def check_length(objective: Objective, epochs: int) -> None:
    """Raise StudyError for a warm-up that no run would come to the end of."""
    warmup, n_train = recipe_in(objective.fingerprint).warmup_examples, objective.batch_sizes[1]
    if n_train is not None and warmup >= epochs * n_train:
        raise StudyError(
            f"warmup_examples is {warmup}, and a run sees {epochs * n_train} in all: wanted fewer, "
            "or more epochs"
        )


def stored_recipe(settings: StudySettings) -> Recipe:
    """Of the study that the settings name; the plain one where there is none yet."""
    from objectives.load import task_name
    from storage.url import readable_errors
    from study.agreement import RECORD
    from study.look import study_so_far

    name = settings.study_name or task_name(settings.task)
    with readable_errors(settings.storage):
        study = study_so_far(settings.storage, name)
    return (
        PLAIN if study is None else Recipe.from_stored(study.user_attrs[RECORD].get("recipe", ""))
    )


def searched_recipe(search: Mapping[str, Any]) -> bool:
    """Whether a part of the recipe is searched, so that a size costs now this and now that."""
    return bool({MICRO, PRECISION} & set(search))


def refuse_other_recipe(study: Study, objective: Objective) -> None:
    """Raise StudyError where the objective trains otherwise: its costs are not the study's."""
    from study.agreement import RECORD

    stored = study.user_attrs[RECORD].get("recipe")
    asked = objective.fingerprint.get("recipe")
    if stored != asked:
        raise StudyError(
            f"study {study.study_name!r} was made with another recipe ({stored or 'none'}, now "
            f"{asked or 'none'}): its runs cost something else, choose another --study-name"
        )
