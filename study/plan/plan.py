"""What a study is asked, with every blank filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.meters.early_stopping import LAST_EPOCH, Ending
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.costs import Costs

if TYPE_CHECKING:
    from batchfront.objectives.training.schedules import Growth

DEFAULT_RISK = 0.02  # of the pruner front
DEFAULT_GRACE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings with every blank filled, from the study where it exists."""

    study_name: str
    task: str
    metric_names: tuple[str, str, str]
    space: SearchSpace
    asked: SearchSpace  # the space before data, memory and budgets cut it
    budgets: Budgets
    epochs: int
    sampler: str
    pruner: str
    pruner_risk: float
    seed: int
    target: float | None
    diagnostics: tuple[str, ...] = ()  # asked of completed runs
    ending: Ending = LAST_EPOCH
    device: str
    hardware: str  # id of a fingerprint
    costs: Costs
    growth: Growth | None = None  # of the batch size within a run
    n_trials: int
    timeout: float | None
    grace_seconds: int  # the same for all workers: it is also how often they show that they live
    study_id: str  # its identity, which tells it from all others, also of its name
