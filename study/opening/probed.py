"""A plan with what every batch size costs here, and without those that cannot be run."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.study.machine.alone import measuring_turn
from batchfront.study.opening.planned import new_plan
from batchfront.study.opening.warm import with_past
from batchfront.study.plan.budgets import cut_by_cost
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.recipe import searched_recipe
from batchfront.study.plan.settings import StudySettings
from batchfront.study.probes.lr_range import with_rates
from batchfront.study.probes.prober import Prober, Watch
from batchfront.study.pruning.by_name import check_pruner
from batchfront.study.trials.growing import whole_runs

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective


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
