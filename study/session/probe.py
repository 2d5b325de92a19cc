"""What each batch size costs, asked for on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import usable_memory_bytes
from batchfront.objectives.device.names import resolve_device
from batchfront.objectives.length import Length
from batchfront.storage.open import readable_errors
from batchfront.study.errors import StudyError
from batchfront.study.machine.alone import measuring_alone
from batchfront.study.opening.open import find_study
from batchfront.study.opening.planned import new_plan, resumed_plan
from batchfront.study.opening.probed import prober_of, with_costs
from batchfront.study.plan.agreement import AGREEMENT, refuse_other_recipe
from batchfront.study.plan.settings import StudySettings
from batchfront.study.plan.space import SearchSpace
from batchfront.study.probes.largest import Largest, find_largest
from batchfront.study.probes.prober import SAFE_SHARE
from batchfront.study.session.opened import loaded
from batchfront.study.session.progress import Watcher, say_compiling
from batchfront.study.trials.costs import Costs
from batchfront.study.trials.hardware import store_costs, stored_costs

LEAST_EPOCHS = 8  # so that a batch of all examples takes steps enough

if TYPE_CHECKING:
    from optuna import Study
    from rich.console import Console


def probe_costs(settings: StudySettings, console: Console, *, again: bool) -> Costs:
    """What each batch size costs here: from the study where it knows, else measured now.

    What is measured is stored with the study where there is one, of the sizes that it has and for
    runs of its length; what it knows of others stays.
    """
    device = resolve_device(settings.device)
    say_compiling(settings, console)
    objective = loaded(settings, device)
    name = settings.study_name or objective.name
    with (
        readable_errors(settings.storage),
        measuring_alone(objective, device, takes_turn=False),
    ):
        study = find_study(settings.storage, name)
        plan = (
            new_plan(settings, objective, name, device)
            if study is None
            else resumed_plan(study, settings, objective, device)
        )
        if study is None:
            return with_costs(plan, objective, Watcher(console)).costs
        refuse_other_recipe(study, objective)
        stored = Length.from_record(study.user_attrs[AGREEMENT])
        if stored is not None and plan.length.as_record() != stored.as_record():
            console.print(f"not stored with study {name!r}, whose runs train for {stored}")
            return with_costs(plan, objective, Watcher(console)).costs
        known = stored_costs(study, plan.hardware)
        asked = known if settings.batch_sizes is None else dict.fromkeys(plan.space.batch_sizes)
        if known and not again and set(asked) <= set(known):
            console.print(f"stored with study {name!r}; --again measures anew")
            return {size: known[size] for size in asked}
        costs = with_costs(plan, objective, Watcher(console)).costs
        _store(study, plan.hardware, costs, again=again)
        return costs


def _store(study: Study, hardware: str, costs: Costs, *, again: bool) -> None:
    """Store those of the study's own sizes; a known one is replaced where that was asked for."""
    known = stored_costs(study, hardware)
    own = SearchSpace.from_dict(study.user_attrs[AGREEMENT]["space"]).batch_sizes
    new = {s: cost for s, cost in costs.items() if (again if s in known else s in own)}
    store_costs(study, hardware, {**known, **new})


def probe_largest(settings: StudySettings, console: Console) -> Largest:
    """The largest batch size that fits here, or into --max-memory.

    Raises:
        StudyError: nothing fits, or nothing is trained.
    """
    device = resolve_device(settings.device)
    say_compiling(settings, console)
    objective = loaded(settings, device)
    if "table" in objective.fingerprint:
        raise StudyError(f"{objective.name} is played back, and takes no memory to be measured")
    free = int(SAFE_SHARE * usable_memory_bytes(device))
    asked = settings.max_memory
    budget = f"{SAFE_SHARE:.0%} of what {device} has free" if asked is None else "as asked for"
    if asked is not None and asked > free:
        asked, budget = None, f"{SAFE_SHARE:.0%} of what {device} has free, less than asked for"
    plan = new_plan(settings, objective, settings.study_name or objective.name, device)
    enough = Length(amount=LEAST_EPOCHS, n_train=objective.n_train)
    prober = prober_of(replace(plan, length=enough), objective)
    least, most = objective.batch_sizes
    with measuring_alone(objective, device):
        return find_largest(
            predict=objective.predict_peak_bytes,
            measure=prober.measure,
            least=least,
            most=most,
            budget_bytes=free if asked is None else asked,
            budget=budget,
            of_device=asked is not None and not device.startswith("cpu"),
        )
