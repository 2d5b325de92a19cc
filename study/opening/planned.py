"""The plan of a study: what its settings say, and what a stored one says where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.hardware import hardware
from batchfront.objectives.measurement import TECHNIQUE_FACTS, ObjectiveError
from batchfront.objectives.meters.early_stopping import ending_of
from batchfront.objectives.metric import Metric, as_metric
from batchfront.study.errors import StudyError
from batchfront.study.opening.terms import new_identity
from batchfront.study.opening.warm import check_warm_start, past_in
from batchfront.study.plan.agreement import AGREEMENT, DEFAULTS, IMPORTED, budgets_in, ending_in
from batchfront.study.plan.length import (
    asked_length,
    fitting,
    with_evaluations,
    with_stored_length,
)
from batchfront.study.plan.parsers import OFF
from batchfront.study.plan.plan import DEFAULT_GRACE_SECONDS, RISKS, Plan
from batchfront.study.plan.recipe import check_warmup
from batchfront.study.plan.settings import StudySettings
from batchfront.study.plan.sizes import MOST_SIZES
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.attributes import ATTRIBUTES, FAIL_REASON
from batchfront.study.trials.growing import growth_of
from batchfront.study.trials.hardware import hardware_id

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.objective import Objective


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
    pruner, asked_risk = settings.pruner or "front", settings.pruner_risk
    return Plan(
        study_name=name,
        task=objective.name,
        metric=replace(metric, function=None),  # it travels to other processes
        space=space,
        asked=asked,
        budgets=settings.budgets(),
        length=length,
        sampler=settings.sampler or "cost-aware",
        pruner=pruner,
        pruner_risk=RISKS.get(pruner, RISKS["front"]) if asked_risk is None else asked_risk,
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
    space = replace(SearchSpace.from_dict(stored["space"]), search=objective.search)
    filled = _filled(with_stored_length(settings, stored), defaults)
    sizes = filled.batch_sizes or space.batch_sizes  # a length is checked against them
    filled = replace(filled, batch_sizes=sizes)
    plan = new_plan(filled, objective, study.study_name, device)
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


def _filled(settings: StudySettings, defaults: Mapping[str, Any]) -> StudySettings:
    """The settings with what a study has stored of those that a resuming run may change.

    A risk is the one of the pruner that it was stored with.
    """
    same_pruner = settings.pruner in (None, defaults.get("pruner"))
    keeps_risk = settings.pruner_risk is None and same_pruner
    return replace(
        settings,
        sampler=settings.sampler or defaults.get("sampler"),
        pruner=settings.pruner or defaults.get("pruner", "none"),  # older versions had no other
        pruner_risk=defaults.get("pruner_risk") if keeps_risk else settings.pruner_risk,
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
