"""The length of a study's runs: what was asked for, what is stored, or the task's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import UNITS, USUAL_EVALUATIONS, Length
from batchfront.study.commands import setting
from batchfront.study.errors import StudyError
from batchfront.study.show import counted

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective
    from batchfront.study.plan.settings import StudySettings
    from batchfront.study.plan.space import SearchSpace


def with_stored_length(settings: StudySettings, record: Mapping[str, Any]) -> StudySettings:
    """What the settings leave open of the length comes from a study's record."""
    stored = Length.from_record(record)
    if stored is None or settings.lengths not in ({}, {stored.unit: stored.amount}):
        return settings  # another one, which will be refused
    evaluations = settings.evaluations or stored.evaluations
    own: dict[str, Any] = {stored.unit: stored.amount, "evaluations": evaluations}
    return replace(settings, **own)


def asked_length(settings: StudySettings, objective: Objective) -> Length:
    """The length that was asked for, or else the objective's own; evaluations may be open yet.

    Raises:
        StudyError: the objective cannot train for it.
    """
    if objective.recorded is not None:
        return _recorded(settings, objective.recorded, objective.name)
    epochs = objective.default_epochs
    unit, amount = next(iter(settings.lengths.items()), (UNITS[0], epochs))
    length = Length(
        unit=unit,
        amount=amount,
        evaluations=settings.evaluations,
        tokens_per_example=objective.tokens_per_example if unit == "tokens" else None,
        n_train=objective.n_train,
    )
    if unit == UNITS[0] and length.evaluations == amount:
        length = replace(length, evaluations=None)
    most = objective.max_epochs
    if most is not None and (not length.is_plain or amount > most):
        raise StudyError(
            f"{_said(settings, length)}, and {objective.name} holds curves of "
            f"{counted(most, 'epoch')}: choose --epochs {most} or fewer"
        )
    if objective.whole_epochs and not length.is_plain:
        raise StudyError(
            f"{_said(settings, length)}, and {objective.name} has loaders of its own, which give "
            "whole epochs: choose --epochs without --evaluations, or give datasets"
        )
    _check_tokens(length, objective)
    return length


def _recorded(settings: StudySettings, length: Length, name: str) -> Length:
    """The length of a table, unless another was asked for."""
    same = settings.lengths in ({}, {length.unit: length.amount})
    if same and settings.evaluations in (None, length.points):
        return length
    asked = "evaluations" if same else next(iter(settings.lengths))
    raise StudyError(
        f"{asked} is {getattr(settings, asked)}, and {name} holds curves of {length}: choose "
        f"--{length.unit} {length.amount}"
    )


def _said(settings: StudySettings, length: Length) -> str:
    """The setting that does not fit."""
    name = length.unit if settings.lengths else "evaluations"
    return f"{name} is {getattr(settings, name)}"


def _check_tokens(length: Length, objective: Objective) -> None:
    if length.unit != "tokens":
        return
    each = length.tokens_per_example
    if each is None:
        raise StudyError(
            f"tokens is {length.amount}, and {objective.name} does not say how many tokens an "
            "example has: declare tokens_per_example in its Task or CustomLoop, or give "
            f"{setting('examples')}"
        )
    if length.amount < each:
        raise StudyError(f"tokens is {length.amount}, wanted at least {each}: an example has them")


def fitting(space: SearchSpace, length: Length, limits: tuple[int, int | None]) -> SearchSpace:
    """The space without batch sizes beyond the limits, or of more examples than a run is given.

    Raises:
        StudyError: nothing is left.
    """
    space, examples = space.cut_to(limits), length.examples
    if examples is None:
        return space
    low = space.batch_sizes[0]
    if low > examples:
        raise StudyError(
            f"a run of {length} has {counted(examples, 'example')}, and the smallest batch {low}: "
            f"wanted more {length.unit}, or smaller --batch-sizes"
        )
    return space.cut_to((1, examples))


def with_evaluations(length: Length, space: SearchSpace) -> Length:
    """The length with a number of evaluations, each of which brings another step at every size.

    By default one an epoch; USUAL_EVALUATIONS where the length is no whole number of them.

    Raises:
        StudyError: too many were asked for.
    """
    largest = space.batch_sizes[-1]
    examples, n_train = length.examples, length.n_train
    if length.evaluations is None and not length.is_plain:
        whole = examples // n_train if examples and n_train and examples % n_train == 0 else 0
        most = _most_evaluations(length, largest) or USUAL_EVALUATIONS
        return replace(length, evaluations=whole or min(USUAL_EVALUATIONS, most))
    limit = _most_evaluations(length, largest)
    if limit is not None and length.points > limit:
        raise StudyError(
            f"evaluations is {length.points}, and a run of {length.amount} {length.unit} takes "
            f"{counted(limit, 'step')} at batch size {largest}: wanted at most {limit}, or smaller "
            "--batch-sizes"
        )
    return length


def _most_evaluations(length: Length, batch_size: int) -> int | None:
    """Steps of a run at this batch size; None where only the loop knows its examples."""
    examples = length.examples_of(batch_size)
    return None if examples is None else examples // length.batch(batch_size)
