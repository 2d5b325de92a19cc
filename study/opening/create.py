"""Create a study or resume it; refuse whatever would mix results that cannot be compared."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import hardware
from batchfront.objectives.measurement import TECHNIQUE_FACTS, ObjectiveError
from batchfront.objectives.meters.early_stopping import ending_of
from batchfront.objectives.metric import Metric, as_metric
from batchfront.storage.fence import IDENTITY
from batchfront.study.errors import StudyError
from batchfront.study.machine.alone import measuring_turn
from batchfront.study.opening.open import open_study
from batchfront.study.opening.terms import agree_on_grace, given_identity, guard, new_identity
from batchfront.study.opening.warm import check_warm_start, past_in, with_past
from batchfront.study.plan.agreement import (
    AGREEMENT,
    DEFAULTS,
    IMPORTED,
    agreement_of,
    budgets_in,
    compare,
    ending_in,
    refuse_other_recipe,
)
from batchfront.study.plan.behaviour import ACCEPTED, check_code
from batchfront.study.plan.budgets import cut_by_cost
from batchfront.study.plan.length import (
    asked_length,
    fitting,
    with_evaluations,
    with_stored_length,
)
from batchfront.study.plan.parsers import OFF
from batchfront.study.plan.past import PAST, WARM_START
from batchfront.study.plan.plan import DEFAULT_GRACE_SECONDS, DEFAULT_RISK, Plan
from batchfront.study.plan.recipe import check_warmup, searched_recipe
from batchfront.study.plan.settings import StudySettings
from batchfront.study.plan.sizes import MOST_SIZES
from batchfront.study.plan.space import SearchSpace
from batchfront.study.probes.lr_range import with_rates
from batchfront.study.probes.prober import Prober, Watch
from batchfront.study.pruning.by_name import check_pruner
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.attributes import ATTRIBUTES, FAIL_REASON
from batchfront.study.trials.growing import growth_of, whole_runs
from batchfront.study.trials.hardware import (
    COSTS,
    FINGERPRINT,
    PROBING,
    check_hardware,
    hardware_id,
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
    return study, plan, False


def new_plan_with_costs(
    settings: StudySettings, objective: Objective, *, device: str, watch: Watch
) -> Plan:
    """The plan of a study that is not there yet, its space cut to what can be run.

    Raises:
        StudyError: nothing can.
    """
    name = settings.study_name or objective.name
    plan = new_plan(with_rates(settings, objective, device), objective, name, device)
    check_pruner(plan, asked_risk=settings.pruner_risk)
    plan = with_past(plan, settings)
    plan = with_costs(plan, objective, watch)
    if searched_recipe(plan.space.search):  # another value may fit
        return plan
    runs = whole_runs(plan.costs, plan.growth)
    budgets = plan.budgets.beforehand(stops_early=plan.ending.early_stopping is not None)
    return replace(plan, space=cut_by_cost(plan.space, runs, budgets))


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


def new_plan(settings: StudySettings, objective: Objective, name: str, device: str) -> Plan:
    """What the settings say, with defaults for the rest; costs are yet unknown."""
    _check_names(objective)
    metric = as_metric(objective.metric)
    check_limits(metric, settings)
    asked = settings.space(usual_space(objective))
    length = asked_length(settings, objective)
    space = fitting(asked, length, objective.batch_sizes)
    length = with_evaluations(length, space)
    check_warmup(objective, length, space.batch_sizes[0])
    return Plan(
        study_name=name,
        task=objective.name,
        metric=replace(metric, function=None),  # it travels to other processes
        space=space,
        asked=asked,
        budgets=settings.budgets(),
        length=length,
        sampler=settings.sampler or "cost-aware",
        pruner=settings.pruner or "front",
        pruner_risk=DEFAULT_RISK if settings.pruner_risk is None else settings.pruner_risk,
        seed=settings.seed if settings.seed is not None else 0,
        target=settings.target,
        diagnostics=settings.diagnostics or (),
        ending=settings.ending(ending_of(objective)),
        device=device,
        hardware=hardware_id(hardware(device)),
        costs={},
        growth=growth_of(objective, length, space.batch_sizes),
        n_trials=settings.most_trials,
        goal=settings.goal,
        timeout=settings.timeout,
        paused_gib=settings.paused_gib,
        grace_seconds=settings.grace or DEFAULT_GRACE_SECONDS,
        fuse=settings.fuse or OFF,
        study_id=new_identity(),
    )


def usual_space(objective: Objective) -> SearchSpace:
    """What is searched where nobody says otherwise.

    Of recorded runs it is the sizes that there are, of a script what it suggests itself.
    """
    rates = getattr(objective, "usual_rates", SearchSpace.learning_rates)
    usual = SearchSpace(search=objective.search, learning_rates=rates)
    recorded = getattr(objective, "recorded_sizes", ())
    return replace(usual, batch_sizes=recorded) if 0 < len(recorded) <= MOST_SIZES else usual


def check_limits(metric: Metric, settings: StudySettings) -> None:
    """Raise StudyError for a target or a limit that no value can reach, or of the other direction.

    A fraction given in percent is one.
    """
    wanted = {"target": settings.target, **settings.budgets().metric_limits}
    for name, value in wanted.items():
        try:
            if value is not None:
                metric.check_value(value, name)
        except ObjectiveError as error:
            raise StudyError(str(error)) from None
    other = "max_metric" if metric.maximize else "min_metric"
    if wanted[other] is not None:
        raise StudyError(
            f"{metric} is {metric.direction}d, and {other} would forbid what is better: give "
            f"{'min' if metric.maximize else 'max'}_metric"
        )


def _check_names(objective: Objective) -> None:
    """Raise StudyError where a searched parameter has the name of another column."""
    columns = {"number", "state", "hardware", FAIL_REASON, *ATTRIBUTES}
    columns |= {str(objective.metric), "train_seconds", "peak_memory_bytes"}
    columns -= set(TECHNIQUE_FACTS)  # of few studies, and one that searches them has them so
    taken = sorted(columns & set(objective.search))
    if taken:
        raise StudyError(
            f"{objective.name} searches {', '.join(taken)}, which is the name of a column of every "
            "study: choose another name"
        )


def resumed_plan(study: Study, settings: StudySettings, objective: Objective, device: str) -> Plan:
    """What the settings leave open comes from the study, so that a bare rerun resumes it."""
    stored = study.user_attrs[AGREEMENT]
    if IMPORTED in stored:
        raise StudyError(
            f"study {study.study_name!r} was imported from {stored[IMPORTED]['file']}: there is "
            "nothing to train or to probe, choose another --study-name"
        )
    defaults = study.user_attrs.get(DEFAULTS, {})
    filled = replace(
        with_stored_length(settings, stored),
        sampler=settings.sampler or defaults.get("sampler"),
        pruner=settings.pruner or defaults.get("pruner", "none"),  # older versions had no other
        pruner_risk=(
            defaults.get("pruner_risk") if settings.pruner_risk is None else settings.pruner_risk
        ),
        seed=settings.seed if settings.seed is not None else defaults.get("seed"),
        target=settings.target if settings.target is not None else defaults.get("target"),
        fuse=settings.fuse or defaults.get("fuse"),
        grace=settings.grace or defaults.get("grace_seconds"),
        diagnostics=(
            tuple(defaults.get("diagnostics", ()))
            if settings.diagnostics is None
            else settings.diagnostics
        ),
    )
    plan = new_plan(filled, objective, study.study_name, device)
    space = replace(SearchSpace.from_dict(stored["space"]), search=objective.search)
    asked = SearchSpace.from_dict(defaults.get("asked", stored["space"]))
    asked = replace(asked, search=objective.search)
    if settings.space(space) != space:  # the same command again names what was asked for
        named = settings.space(asked)
        space = space if named == asked else fitting(named, plan.length, objective.batch_sizes)
    budgets = budgets_in(stored, plan.budgets)
    ending = settings.ending(ending_in(stored))
    growth = growth_of(objective, plan.length, space.batch_sizes)
    past = past_in(study.user_attrs)
    check_warm_start(study.study_name, past, settings)
    return replace(
        plan, space=space, asked=asked, budgets=budgets, ending=ending, growth=growth, past=past
    )


def with_costs(plan: Plan, objective: Objective, watch: Watch) -> Plan:
    """The plan with every batch size of its space probed here, and those that runs grow to."""
    prober, sizes = prober_of(plan, objective), set(plan.space.batch_sizes)
    if plan.growth is not None:
        sizes.update(*map(plan.growth.reachable, plan.space.batch_sizes))
    with measuring_turn(objective, plan.device):
        begun = time.perf_counter()
        costs = prober.sizes(sizes, watch)
        seconds = watch.lost_seconds + time.perf_counter() - begun
        return replace(plan, costs=costs, probing_seconds=seconds)


def prober_of(plan: Plan, objective: Objective) -> Prober:
    """A prober at the smallest learning rate: a probe must not diverge."""
    rate = plan.space.learning_rates[0]
    return Prober(objective, length=plan.length, device=plan.device, rate=rate)


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
    for place, past in enumerate(plan.past):
        study.set_user_attr(f"{PAST}{place}", past.as_dict())
    if plan.fuse != OFF:
        defaults["fuse"] = plan.fuse
    study.set_user_attr(DEFAULTS, {**defaults, "asked": plan.asked.as_dict()})
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
