"""Settings of how runs train, as a `Recipe`; what is left open comes from the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import Length
from batchfront.objectives.training.recipe import MICRO, PRECISION, Recipe
from batchfront.study.errors import StudyError

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective


def recipe_in(fingerprint: Mapping[str, str]) -> Recipe:
    """The recipe in an objective's fingerprint; the plain one where it has none."""
    return Recipe.from_stored(fingerprint.get("recipe", ""))


def check_warmup(objective: Objective, length: Length, smallest: int) -> None:
    """Raise StudyError for a warm-up that a run of the smallest batch would not come to the end of.

    With equal steps it sees the fewest examples.
    """
    warmup, seen = recipe_in(objective.fingerprint).warmup_examples, length.examples_of(smallest)
    if seen is not None and warmup and warmup >= seen:
        raise StudyError(
            f"warmup_examples is {warmup}, and a run sees {seen} in all: wanted fewer, or more "
            f"{length.unit}"
        )


def searched_recipe(search: Mapping[str, Any]) -> bool:
    """Whether a part of the recipe is searched, so that a size costs now this and now that."""
    return bool({MICRO, PRECISION} & set(search))
