"""What a study is asked, with every blank filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.length import Length
from batchfront.objectives.meters.early_stopping import LAST_EPOCH, Ending
from batchfront.objectives.metric import Direction, Metric
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.goal import ALL_TRIALS, Goal
from batchfront.study.plan.parsers import OFF
from batchfront.study.plan.past import PastRuns
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.attributes import OBJECTIVES
from batchfront.study.trials.costs import Costs
from batchfront.study.trials.yardstick import Objectives

if TYPE_CHECKING:
    from batchfront.objectives.training.schedules import Growth

PAUSING = "front-paused"  # the pruner that pauses runs
RISKS = {"front": 0.02, PAUSING: 0.05}
"""Pruners that take a risk, and which one by default: what is paused is judged again."""
OF_THE_FRONT = tuple(RISKS)
DEFAULT_GRACE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings with every blank filled, from the study where it exists."""

    study_name: str
    task: str
    metric: Metric
    space: SearchSpace
    asked: SearchSpace  # the space before data, memory and budgets cut it
    budgets: Budgets
    length: Length  # of every run
    sampler: str
    past: tuple[PastRuns, ...] = ()  # earlier studies that the sampler may learn from
    pruner: str
    pruner_risk: float
    seed: int
    target: float | None
    diagnostics: tuple[str, ...] = ()  # asked of completed runs
    ending: Ending = LAST_EPOCH
    device: str
    hardware: str  # id of a fingerprint
    costs: Costs
    probing_seconds: float | None = None  # what it took to find them; None: they were there
    growth: Growth | None = None  # of the batch size within a run
    n_trials: int  # the greatest number
    goal: Goal = ALL_TRIALS  # what may end the search before it
    timeout: float | None
    paused_gib: float = 10.0  # of disk, for checkpoints of paused runs
    grace_seconds: int  # the same for all workers: it is also how often they show that they live
    fuse: str | int = OFF  # runs that are trained together: off, auto, or the most
    device_bytes: int | None = None  # of an accelerator, for who must not ask it; None: it is asked
    study_id: str  # its identity, which tells it from all others, also of its name

    @property
    def objectives(self) -> Objectives:
        """The study's objectives, which know their metric."""
        found = Objectives(self.metric_names)
        found.metric = self.metric
        return found

    @property
    def metric_names(self) -> tuple[str, str, str]:
        """The study's objectives."""
        return (self.metric.name, *OBJECTIVES[1:])

    @property
    def directions(self) -> list[Direction]:
        """Their directions."""
        return [self.metric.direction or "maximize", "minimize", "minimize"]
