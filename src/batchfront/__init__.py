"""Which batch size and learning rate? A multi-objective Optuna study answers, on your hardware.

Task files and training loops of your own import what they need from here alone:
`from batchfront import Task, Data`. A script or a notebook searches with `batchfront.Study`.
Nothing is loaded before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchfront.objectives.loading.datasets import Datasets
    from batchfront.objectives.measurement import Stopped, TrialParams, Verdict
    from batchfront.objectives.meters.early_stopping import EarlyStopping
    from batchfront.objectives.metric import Metric
    from batchfront.objectives.objective import CustomLoop
    from batchfront.objectives.parameter import Parameter
    from batchfront.objectives.run import Run
    from batchfront.objectives.task import Data, Task
    from batchfront.study.api.pruners import FrontPruner, ProjectedPruner
    from batchfront.study.api.reporting import ReportingTrial
    from batchfront.study.api.sampler import CostAwareSampler
    from batchfront.study.api.study import Study

__all__ = [
    "CostAwareSampler", "CustomLoop", "Data", "Datasets", "EarlyStopping", "FrontPruner", "Metric",
    "Parameter", "ProjectedPruner", "ReportingTrial", "Run", "Stopped", "Study", "Task",
    "TrialParams", "Verdict",
]  # fmt: skip

_HOMES = {
    "CostAwareSampler": "batchfront.study.api.sampler",
    "CustomLoop": "batchfront.objectives.objective",
    "Data": "batchfront.objectives.task",
    "Datasets": "batchfront.objectives.loading.datasets",
    "EarlyStopping": "batchfront.objectives.meters.early_stopping",
    "FrontPruner": "batchfront.study.api.pruners",
    "Metric": "batchfront.objectives.metric",
    "Parameter": "batchfront.objectives.parameter",
    "ProjectedPruner": "batchfront.study.api.pruners",
    "ReportingTrial": "batchfront.study.api.reporting",
    "Run": "batchfront.objectives.run",
    "Stopped": "batchfront.objectives.measurement",
    "Study": "batchfront.study.api.study",
    "Task": "batchfront.objectives.task",
    "TrialParams": "batchfront.objectives.measurement",
    "Verdict": "batchfront.objectives.measurement",
}
_MODULES = {  # each needs its library: pip install 'batchfront[lightning]'
    "lightning": "batchfront.objectives.adapters.lightning",
    "transformers": "batchfront.objectives.adapters.transformers",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'batchfront' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])
