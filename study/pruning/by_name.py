"""Stop rules by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.raised import words_of
from batchfront.study.commands import setting
from batchfront.study.errors import StudyError
from batchfront.study.plan.plan import OF_THE_FRONT, PAUSING
from batchfront.study.pruning.decision import NeverStop, StopRule
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.outcome import grid_stride

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

    from batchfront.study.plan.plan import Plan
    from batchfront.study.trials.costs import Costs


def check_pruner(plan: Plan, *, asked_risk: float | None) -> None:
    """Raise StudyError for a pruner that lacks what it needs, or is given what it cannot use."""
    if plan.pruner == "threshold" and plan.budgets.least_metric is None:
        raise StudyError(
            "pruner threshold stops runs beyond --min-metric or --max-metric: give one of them"
        )
    if asked_risk is not None and plan.pruner not in OF_THE_FRONT:
        raise StudyError(
            f"{setting('pruner_risk')} is for the pruners {' and '.join(OF_THE_FRONT)}, not for "
            f"{plan.pruner}"
        )
    if ":" in plan.pruner:
        own_pruner(plan.pruner)


def make_stop_rule(plan: Plan, costs: Callable[[], Costs]) -> StopRule:
    """What the plan names. `costs`: those of this hardware, as known at the time.

    Runs that are kept nowhere are not paused, by whatever rule.

    Raises:
        StudyError: a pruner of your own that cannot be loaded.
    """
    if plan.pruner == "none":
        return NeverStop()
    if plan.pruner in OF_THE_FRONT:
        from batchfront.study.pruning.front import FrontPruner
        from batchfront.study.pruning.pausing import PausingPruner

        make = PausingPruner if plan.pruner == PAUSING else FrontPruner
        return make(
            risk=plan.pruner_risk,
            seed=plan.seed,
            hardware=plan.hardware,
            costs=costs,
            length=plan.length,
        )
    from batchfront.study.pruning.stock import StockPruner

    budgets = plan.budgets
    pruner = stock_pruner(
        plan.pruner,
        n_evaluations=plan.length.points,
        min_metric=budgets.min_metric,
        max_metric=budgets.max_metric,
    )
    return StockPruner(pruner, name=plan.pruner, length=plan.length)


def stock_pruner(
    name: str,
    *,
    n_evaluations: int,
    min_metric: float | None = None,
    max_metric: float | None = None,
) -> BasePruner:
    """Optuna's pruners with its defaults, and what has none set from the number of epochs, or of
    other points of a curve.

    Raises:
        StudyError: a pruner of your own that cannot be loaded.
    """
    from optuna import pruners

    if ":" in name:
        return own_pruner(name)
    steps = n_evaluations // grid_stride(n_evaluations)  # those that pruners see
    makers: dict[str, Callable[[], BasePruner]] = {
        "median": pruners.MedianPruner,
        "percentile": lambda: pruners.PercentilePruner(25.0),
        "halving": pruners.SuccessiveHalvingPruner,
        "hyperband": lambda: pruners.HyperbandPruner(max_resource=steps),
        "threshold": lambda: pruners.ThresholdPruner(
            lower=min_metric, upper=max_metric, n_warmup_steps=steps // 2
        ),
        "patient": lambda: pruners.PatientPruner(
            pruners.MedianPruner(), patience=max(1, steps // 5)
        ),
        "wilcoxon": pruners.WilcoxonPruner,
    }
    with quiet_optuna():
        return makers[name]()


def own_pruner(spec: str) -> BasePruner:
    """The pruner that `path/to/mine.py:name` is, or returns when called."""
    from optuna.pruners import BasePruner

    from batchfront.objectives.import_file import import_file
    from batchfront.objectives.measurement import ObjectiveError

    path, _, name = spec.rpartition(":")
    if not Path(path).is_file():
        raise StudyError(f"pruner file {path!r} is not there (looked from {Path.cwd()})")
    try:
        module = import_file(Path(path).resolve())
    except ObjectiveError as error:
        raise StudyError(str(error).replace("task file", "pruner file", 1)) from error
    found: Any = getattr(module, name, None)
    if found is None:
        raise StudyError(f"{path} has no {name!r}, wanted a pruner or a function that returns one")
    try:
        pruner = found if isinstance(found, BasePruner) else found()
    except Exception as error:
        raise StudyError(f"pruner {spec!r} fails: {words_of(error)}") from error
    if not isinstance(pruner, BasePruner):
        raise StudyError(f"pruner {spec!r} is {type(pruner).__name__}, wanted an optuna BasePruner")
    return pruner
