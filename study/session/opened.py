"""What the settings name: the objective, and the study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batchfront.objectives.load import load_objective
from batchfront.objectives.metric import AskedMetric
from batchfront.objectives.scripts.loop import SCRIPT
from batchfront.objectives.training.batches import EXACT, rule_in
from batchfront.storage.open import exists, open_storage
from batchfront.study.errors import StudyError
from batchfront.study.opening.create import create_or_resume
from batchfront.study.opening.open import stored_record
from batchfront.study.opening.probed import new_plan_with_costs
from batchfront.study.plan.recipe import recipe_in
from batchfront.study.plan.settings import StudySettings, recipe_of
from batchfront.study.trials.yardstick import metric_of_record

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.objective import Objective
    from batchfront.study.plan.plan import Plan
    from batchfront.study.probes.prober import Watch


def loaded(settings: StudySettings, device: str) -> Objective:
    """The objective, its step compiled where the settings ask for that."""
    record = stored_record(settings)
    return load_objective(
        settings.task,
        given=settings.given,
        names=dict(settings.param or ()),
        script=(record or {}).get(SCRIPT),
        device=device,
        compiled=settings.compile,
        recipe=recipe_of(settings, recipe_in(record or {})),
        batches=EXACT if record is None else rule_in(record),
        data_dir=Path(settings.data_dir),
        asked=AskedMetric(
            name=settings.metric,
            direction=settings.direction,
            usual=None if record is None else metric_of_record(record),
        ),
    )


def refuse_played_back(objective: Objective, remedy: str) -> None:
    """Raise StudyError where fresh seeds are wanted of an objective that trains nothing."""
    if "table" in objective.fingerprint:
        raise StudyError(
            f"{objective.name} is played back, so fresh seeds would be the recorded ones "
            f"again: {remedy}"
        )


def opened(
    settings: StudySettings, objective: Objective, *, device: str, watch: Watch
) -> tuple[Study, Plan, bool]:
    """The study, what to do with it, and whether it is new; its batch sizes are probed.

    Raises:
        StudyError: the stored study differs in what must not change.
    """
    planned = None
    if not exists(settings.storage):  # what is refused leaves no empty one behind
        planned = new_plan_with_costs(settings, objective, device=device, watch=watch)
    return create_or_resume(
        open_storage(settings.storage, mode="worker"),
        settings,
        objective,
        device=device,
        watch=watch,
        planned=planned,
    )
