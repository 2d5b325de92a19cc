"""What each batch size costs, asked for on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.device.names import resolve_device
from batchfront.storage.open import readable_errors
from batchfront.study.machine.slots import measuring_alone
from batchfront.study.opening.create import new_plan, resumed_plan, with_costs
from batchfront.study.opening.open import find_study
from batchfront.study.plan.agreement import refuse_other_recipe
from batchfront.study.plan.settings import StudySettings
from batchfront.study.session.progress import watcher
from batchfront.study.session.session import loaded
from batchfront.study.trials.costs import Costs
from batchfront.study.trials.hardware import store_costs, stored_costs

if TYPE_CHECKING:
    from rich.console import Console


def probe_costs(settings: StudySettings, console: Console, *, again: bool) -> Costs:
    """What each batch size costs here: from the study where it knows, else measured now.

    What is measured is stored with the study where there is one.
    """
    device = resolve_device(settings.device)
    objective = loaded(settings, device, console)
    name = settings.study_name or objective.name
    with readable_errors(settings.storage), measuring_alone(objective, device):
        study = find_study(settings.storage, name)
        plan = (
            new_plan(settings, objective, name, device)
            if study is None
            else resumed_plan(study, settings, objective, device)
        )
        if study is not None:
            refuse_other_recipe(study, objective)
        known = {} if study is None else stored_costs(study, plan.hardware)
        if known and not again:
            console.print(f"stored with study {name!r}; --again measures anew")
            return known
        costs = with_costs(plan, objective, watcher(console)).costs
        if study is not None:
            store_costs(study, plan.hardware, costs)
        return costs
