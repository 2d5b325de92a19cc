"""What runs cost whose batch size grows: time sums over phases, memory is that of the largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Phase
from batchfront.study.trials.costs import Costs, SizeCost

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective
    from batchfront.objectives.training.schedules import Growth


def growth_of(objective: Objective, length: Length, sizes: Sequence[int]) -> Growth | None:
    """The growth of the batch size in runs that start with these; None where all keep their own."""
    if '"schedule"' not in objective.fingerprint.get("recipe", ""):
        return None
    from batchfront.objectives.training.objective import TaskObjective

    return objective.growth(length, first=sizes) if isinstance(objective, TaskObjective) else None


def can_adapt(objective: Objective) -> bool:
    """Whether single runs may grow though those of the study keep their batch size."""
    if objective.compiled or "table" in objective.fingerprint:
        return False
    from batchfront.objectives.training.objective import TaskObjective

    if not isinstance(objective, TaskObjective) or objective.task.scheduler is not None:
        return False  # a scheduler is told how many steps there will be
    return objective.recipe.schedule == "constant"


def first_steps(phases: Sequence[Phase], n: int) -> tuple[Phase, ...]:
    """The phases of a run that ended after `n` steps."""
    taken = []
    for phase in phases:
        steps = min(n, phase.steps)
        if steps:
            epochs = -(-phase.epochs * steps // phase.steps)
            taken.append(phase._replace(steps=steps, epochs=epochs))
        n -= steps
    return tuple(taken)


def cost_of(phases: Sequence[Phase], costs: Costs) -> SizeCost | None:
    """The cost of a run through these phases, at its mean step; None where a size is unknown."""
    known = [costs.get(phase.batch_size) for phase in phases]
    steps = sum(phase.steps for phase in phases)
    seconds = 0.0
    for phase, cost in zip(phases, known, strict=True):
        if cost is None or cost.step_seconds is None:
            return None
        seconds += phase.steps * cost.step_seconds
    largest = max((cost for cost in known if cost), key=lambda cost: cost.memory or 0)
    return replace(
        largest,
        batch_size=phases[0].batch_size,
        step_seconds=seconds / steps,
        total_steps=steps,
        disturbed=any(cost.disturbed for cost in known if cost),
    )


def whole_runs(costs: Costs, growth: Growth | None) -> Costs:
    """The costs of whole runs by the size they start with; at least, where that is not planned.

    A start is as it was probed where a size is unknown that its runs come to.
    """
    if growth is None:
        return costs
    found = {size: cost_of(_least(size, costs, growth), costs) for size in costs}
    return {size: found[size] or cost for size, cost in costs.items()}


def _least(first: int, costs: Costs, growth: Growth) -> tuple[Phase, ...]:
    """The phases as planned; of a run that looks at its noise, the quickest there can be."""
    sizes = growth.planned(first)
    if growth.schedule == "noise-scale":
        steps = {size: growth.phases([size])[0].steps for size in growth.reachable(first)}
        seconds = {
            size: n * (costs[size].step_seconds or float("inf"))
            for size, n in steps.items()
            if size in costs
        }
        sizes[1:] = [min(seconds, key=lambda size: seconds[size])] * (len(sizes) - 1)
    return growth.phases(sizes)
