"""Learning rates from range tests: of one batch size, or of a whole new study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.objectives.device.names import resolve_device
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.raised import Halted, words_of
from batchfront.study.commands import setting
from batchfront.study.errors import StudyError
from batchfront.study.machine.alone import measuring_alone, measuring_turn
from batchfront.study.plan.environment import chosen_data_dir
from batchfront.study.plan.parsers import AUTO
from batchfront.study.plan.settings import StudySettings
from batchfront.study.plan.space import UNSCALED, Scale, SearchSpace

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective
    from batchfront.objectives.probes.lr_range import RangeTest


def one_test(*, task: str, batch_size: int, seed: int, device: str) -> RangeTest:
    """The range test of a task that is loaded for it, alone on its core as trials are.

    Raises:
        StudyError, ObjectiveError: what a user can mend.
    """
    where = resolve_device(device)
    objective = load_objective(task, device=where, data_dir=chosen_data_dir())
    with measuring_alone(objective, where):
        return _test(objective, task, batch_size=batch_size, seed=seed, device=where)


def with_rates(settings: StudySettings, objective: Objective, device: str) -> StudySettings:
    """The settings; where they ask for `auto`, with the range of rates that tests suggest.

    It goes from the lowest rate at which the smallest or the largest batch size begins to learn to
    the highest that either can bear.

    Raises:
        StudyError, ObjectiveError: nothing can be suggested.
    """
    if settings.learning_rates != AUTO:
        return settings
    space = settings.space(SearchSpace())
    sizes = space.cut_to(objective.batch_sizes).batch_sizes
    with measuring_turn(objective, device):
        tests = [
            _test(objective, settings.task, batch_size=size, seed=settings.seed or 0, device=device)
            for size in dict.fromkeys((sizes[0], sizes[-1]))
        ]
    return replace(settings, learning_rates=suggested_rates(tests, space.scale))


def rates_text(tests: Sequence[RangeTest]) -> str:
    """What is suggested, as people write it: LOW:HIGH.

    Raises:
        StudyError: no rate made the loss fall.
    """
    low, high = suggested_rates(tests)
    return f"{low:g}:{high:g}"


def cut_line(tests: Sequence[RangeTest]) -> str | None:
    """A warning where useful rates may lie below the suggested ones; None where they do not."""
    cut = [test for test in tests if test.is_cut and test.low is not None]
    if not cut:
        return None
    return (
        f"cut at the test's lower end, {min(test.rates[0] for test in cut):.2g}: lower rates may "
        "train as well"
    )


def suggested_rates(tests: Sequence[RangeTest], scale: Scale = UNSCALED) -> tuple[float, float]:
    """The range to search, with two digits; as base rates where they are scaled.

    Raises:
        StudyError: no rate made the loss fall.
    """
    ends = [
        end / scale.factor(test.batch_size)
        for test in tests
        for end in (test.low, test.high)
        if end is not None
    ]
    if not ends:
        raise StudyError(
            f"nothing to suggest at batch size {tests[0].batch_size}: {tests[0].why_none}: scale "
            f"inputs and targets, or give {setting('learning_rates', 'LOW:HIGH')}"
        )
    return float(f"{min(ends):.2g}"), float(f"{max(ends):.2g}")


def _test(objective: Objective, task: str, *, batch_size: int, seed: int, device: str) -> RangeTest:
    from batchfront.objectives.probes.lr_range import range_test
    from batchfront.study.probes.noise import with_model

    model = with_model(objective, task, verb="a range test of learning rates")
    least, most = objective.batch_sizes
    if batch_size < least or (most is not None and batch_size > most):
        raise StudyError(f"batch size is {batch_size}, wanted {least} to {most}")
    try:
        return range_test(model, batch_size=batch_size, seed=seed, device=device)
    except (ObjectiveError, Halted):
        raise
    except BaseException as error:  # user code may raise anything
        raise ObjectiveError(f"{objective.name} fails: {words_of(error)}") from error
