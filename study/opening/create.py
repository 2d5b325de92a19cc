"""Create a study or resume it; refuse whatever would mix results that cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.hardware import hardware
from batchfront.objectives.metric import as_metric
from batchfront.storage.fence import IDENTITY
from batchfront.study.opening.open import open_study
from batchfront.study.opening.planned import resumed_plan
from batchfront.study.opening.probed import new_plan_with_costs, with_costs
from batchfront.study.opening.terms import agree_on_grace, given_identity, guard
from batchfront.study.plan.agreement import (
    AGREEMENT,
    DEFAULTS,
    agreement_of,
    compare,
    refuse_other_recipe,
)
from batchfront.study.plan.behaviour import ACCEPTED, check_code
from batchfront.study.plan.parsers import OFF
from batchfront.study.plan.past import PAST, WARM_START
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.probes.prober import Watch
from batchfront.study.pruning.by_name import check_pruner
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.hardware import (
    COSTS,
    FINGERPRINT,
    PROBING,
    check_hardware,
    store_costs,
    stored_costs,
)

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.objective import Objective
    from batchfront.storage.shared import SharedStorage


def create_or_resume(
    storage: SharedStorage,
    settings: StudySettings,
    objective: Objective,
    *,
    device: str,
    watch: Watch,
    planned: Plan | None = None,
) -> tuple[Study, Plan, bool]:
    """The study the settings name, what to do with it, and whether it is new.

    A new study's batch sizes are probed first, and its space is cut to those that can be run
    within the budgets; from then on the space never changes. Creation happens under the claim
    lock, so that whoever sees the study sees all of it. `planned`: by `new_plan_with_costs`, where
    the storage was not there yet.

    Raises:
        StudyError: the stored study differs in what must not change; nothing is written then.
    """
    import optuna

    name = settings.study_name or objective.name
    with storage.claim_lock(name):
        names = optuna.get_all_study_names(storage)
        exists = name in names and not _is_to_be_made(storage, name, objective)
    if not exists:
        plan = planned or new_plan_with_costs(settings, objective, device=device, watch=watch)
        with storage.claim_lock(name) as alone:
            if name not in optuna.get_all_study_names(storage) or _is_to_be_made(
                storage, name, objective
            ):
                return *_create(storage, plan, objective, alone=alone), True
    return *_resume(storage, name, settings, objective, device=device, watch=watch), False


def _resume(
    storage: SharedStorage,
    name: str,
    settings: StudySettings,
    objective: Objective,
    *,
    device: str,
    watch: Watch,
) -> tuple[Study, Plan]:
    """A study that is there, and what is left to do; nothing is written unless all is agreed on."""
    study = open_study(storage, name)
    plan = resumed_plan(study, settings, objective, device)
    check_pruner(plan, asked_risk=settings.pruner_risk)
    compare(study, agreement_of(plan, objective), plan.directions)
    refuse_other_recipe(study, objective)
    check_hardware(study, device, mixed=settings.mixed_hardware)
    with storage.claim_lock(name):
        check_code(study, objective, accept=settings.accept_change)
        agree_on_grace(study, plan.grace_seconds)
        plan = replace(plan, study_id=given_identity(study))
    guard(storage, study, plan.study_id)
    costs = stored_costs(study, plan.hardware)
    plan = replace(plan, costs=costs) if costs else with_costs(plan, objective, watch)
    remember_hardware(study, plan)
    return study, plan


def _is_to_be_made(storage: SharedStorage, name: str, objective: Objective) -> bool:
    """A study of ours of which nothing is to be kept: it has our directions, and no result.

    Its creator was killed before it wrote the record, or whatever ran has failed: then the next one
    may have another task, data or space.
    """
    import optuna

    study = optuna.load_study(study_name=name, storage=storage)
    found = [direction.name.lower() for direction in study.directions]
    states = {state.name for state in storage.count_trials(study._study_id)}
    without_result = states == ({"FAIL"} if AGREEMENT in study.user_attrs else set())
    ours = [as_metric(objective.metric).direction, "minimize", "minimize"]
    return found == ours and without_result


def _create(
    storage: SharedStorage, plan: Plan, objective: Objective, *, alone: bool
) -> tuple[Study, Plan]:
    """The study, and the plan with its identity.

    Without a lock others may make it at the same moment: then the identity that is there counts, or
    each would take the others' for a study that was made after theirs had been deleted.
    """
    import optuna

    study = optuna.create_study(
        storage=storage,
        study_name=plan.study_name,
        directions=plan.directions,
        load_if_exists=True,  # one whose creation was cut off, or whose trials have all failed
    )
    with quiet_optuna():
        study.set_metric_names(list(plan.metric_names))
    for place, past in enumerate(plan.past):
        study.set_user_attr(f"{PAST}{place}", past.as_dict())
    study.set_user_attr(DEFAULTS, _defaults_of(plan))
    if alone:
        study.set_user_attr(IDENTITY, plan.study_id)
    plan = replace(plan, study_id=given_identity(study))
    guard(storage, study, plan.study_id)
    study.set_user_attr(FINGERPRINT + plan.hardware, hardware(plan.device))
    _store_costs(study, plan)
    if ACCEPTED in study.user_attrs:
        study.set_user_attr(ACCEPTED, [])  # of trials that have all failed
    study.set_user_attr(AGREEMENT, agreement_of(plan, objective))
    return study, plan


def _defaults_of(plan: Plan) -> dict[str, Any]:
    """What is stored for whoever resumes the study and leaves it open."""
    names = (
        "sampler",
        "pruner",
        "pruner_risk",
        "seed",
        "target",
        "grace_seconds",
        "diagnostics",
    )
    defaults = {name: getattr(plan, name) for name in names}
    if plan.past:
        defaults[WARM_START] = [past.source for past in plan.past]
    if plan.fuse != OFF:
        defaults["fuse"] = plan.fuse
    return {**defaults, "asked": plan.asked.as_dict()}


def _store_costs(study: Study, plan: Plan) -> None:
    store_costs(study, plan.hardware, plan.costs)
    if plan.probing_seconds is not None:
        study.set_user_attr(PROBING + plan.hardware, round(plan.probing_seconds, 3))


def remember_hardware(study: Study, plan: Plan) -> None:
    """Store this machine's fingerprint and costs with the study, unless they are there."""
    if FINGERPRINT + plan.hardware not in study.user_attrs:
        study.set_user_attr(FINGERPRINT + plan.hardware, hardware(plan.device))
    if COSTS + plan.hardware not in study.user_attrs:
        _store_costs(study, plan)
