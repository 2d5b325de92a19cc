"""What a finished run becomes in the study: told values, attributes, constraint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from batchfront.objectives.measurement import Measurement, Verdict
from batchfront.objectives.metric import ACCURACY, Metric
from batchfront.objectives.raised import kind_of
from batchfront.study.trials.attributes import (
    ALSO,
    ALSO_CURVES,
    CONSTANT_METRIC,
    CURVE,
    DEVICE_MEMORY,
    DIAGNOSED,
    MEMORY_OFF,
    OWN_CLOCK,
    PHASES,
    REASON,
    SO_FAR,
    VERDICT,
    id_of,
    length_of,
    steps_taken,
)
from batchfront.study.trials.costs import TIME_OFF, SizeCost

Point = TypeVar("Point")
MUCH_MEMORY = 0.05  # a share of the peak
MIN_GRADE, MAX_GRADE = 0.01, 1.0  # of the constraint; a failure's grade is above

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

GRADES = {
    Verdict.DOMINATED: MAX_GRADE, Verdict.PRUNED: MAX_GRADE,  # where the objective itself says so
    Verdict.STALLED: 2.0, Verdict.DIVERGED: 3.0, Verdict.NON_FINITE: 3.0,
}  # fmt: skip
OVER_BUDGET_GRADE = 4.0  # of memory too; plus the relative overshoot
CURVE_POINTS = 100  # of a curve that is stored


def grade_of(verdict: Verdict) -> float:
    """The constraint of a run that a verdict stopped, where nothing says how far it fell short."""
    return GRADES.get(verdict, OVER_BUDGET_GRADE)


def told_values(measured: Measurement, known: SizeCost | None) -> tuple[float, float, float]:
    """Time and memory are the probe's where it knows them: equal for all steps of a size.

    Of a run that completed the steps count that it took; one that was stopped is told at the cost
    of the whole run. Where steps are not reported, the run's own clock has to do.
    """
    metric, completed = measured.metric or 0.0, measured.verdict is Verdict.COMPLETED
    if known is None or known.step_seconds is None:
        return metric, measured.train_seconds, float(measured.peak_memory_bytes)
    seconds = known.step_seconds * (measured.steps if completed else measured.total_steps)
    if measured.missing_steps:
        seconds = measured.train_seconds if completed else measured.planned_train_seconds
    return metric, seconds, float(known.peak_memory_bytes or 0)


def device_memory(measured: Measurement, known: SizeCost | None) -> int | None:
    """What an accelerator loses to such a run: the probe's word where it has one, as of peaks."""
    if known is not None and known.step_seconds is not None:
        return known.device_memory_bytes
    return measured.device_memory_bytes


def attributes_of(measured: Measurement, known: SizeCost | None) -> dict[str, Any]:
    """What is stored beside the objective values, by the names of study/trials/attributes.py."""
    stopped = measured.verdict is not Verdict.COMPLETED
    _, planned, peak = told_values(measured, known)
    if known is None:
        planned = measured.planned_train_seconds
    elif not stopped and not measured.missing_steps:
        planned *= measured.total_steps / max(measured.steps, 1)
    off = time_off(measured, known)
    return {
        VERDICT: measured.verdict.value,
        REASON: measured.reason or measured.missing_steps or None,
        "best_metric": measured.best_metric,
        CONSTANT_METRIC: measured.baseline_metric,
        ALSO: dict(measured.also) or None,
        ALSO_CURVES: _also_curves(measured) or None,
        "train_loss": measured.train_loss if _finite(measured.train_loss) else None,
        "test_metric": measured.test_metric if _finite(measured.test_metric) else None,
        "generalization_gap": measured.generalization_gap,
        **_to_target(measured),
        "n_spikes": measured.n_spikes,
        **{name: getattr(measured, name) for name in DIAGNOSED},
        **measured.techniques,
        "steps": measured.steps,
        "total_steps": measured.total_steps,
        OWN_CLOCK: bool(measured.missing_steps) or None,
        "evaluation_peak_bytes": measured.evaluation_peak_bytes
        or (known and known.evaluation_peak_bytes),
        DEVICE_MEMORY: device_memory(measured, known),
        PHASES: [list(phase) for phase in measured.phases] or None,
        "measured_seconds": measured.train_seconds,
        "process_seconds": measured.process_seconds,
        "time_off": off if off is not None and abs(off) > TIME_OFF else None,
        MEMORY_OFF: memory_off(measured, known),
        "planned_train_seconds": planned,
        SO_FAR: [measured.metric, planned, peak] if stopped else None,
    }


def _to_target(measured: Measurement) -> dict[str, float | None]:
    """Under the name of its unit, what of its length the run took to the target."""
    length, points = measured.length, measured.to_target
    if length is None:
        return {}
    taken = None if points is None else length.amount * points / length.points
    whole = taken is not None and taken.is_integer()
    return {f"{length.unit}_to_target": int(taken or 0) if whole else taken}


def _also_curves(measured: Measurement) -> dict[str, list[float | None]]:
    """Curves of further metrics at the points of the metric's own; None where not reported."""
    found = {}
    for name, curve in measured.also_curves.items():
        points = _thinned(curve, measured.length.points if measured.length else len(curve))
        found[name] = [value if _finite(value) else None for value in points]
    return found


def time_off(measured: Measurement, known: SizeCost | None) -> float | None:
    """The share by which a completed run took longer than its size is known to, if known."""
    if measured.verdict is not Verdict.COMPLETED or known is None or not known.step_seconds:
        return None
    return round(measured.train_seconds / (known.step_seconds * measured.steps) - 1, 3)


def memory_off(measured: Measurement, known: SizeCost | None) -> float | None:
    """The share by which a completed run's own peak differs from its size's, where it is much."""
    peak = None if known is None else known.peak_memory_bytes
    if measured.verdict is not Verdict.COMPLETED or not peak or not measured.peak_memory_bytes:
        return None
    off = round(measured.peak_memory_bytes / peak - 1, 3)
    return off if abs(off) > MUCH_MEMORY else None


def mirror_constraint(study: Study, trial: Trial, grade: float) -> None:
    """Store the constraint as optuna-dashboard 0.21 reads it, for a COMPLETE infeasible trial.

    It knows only the list attribute of older Optuna versions, which no public call writes any more.
    """
    study._storage.set_trial_system_attr(id_of(trial), "constraints", [grade])


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def grid_stride(n_evaluations: int) -> int:
    """Every how many points of a curve, as a rule epochs, one is stored: 1, 2, 4, ..."""
    stride = 1
    while n_evaluations > CURVE_POINTS * stride:
        stride *= 2
    return stride


def n_points(n_evaluations: int) -> int:
    """The points that are stored of a run to its end."""
    return min(n_evaluations // grid_stride(n_evaluations), CURVE_POINTS)


def ended_early(trial: FrozenTrial) -> bool:
    """Whether it completed, and stopped itself before the last epoch."""
    attributes, taken = trial.user_attrs, steps_taken(trial)
    length = length_of(attributes)
    if trial.state.name != "COMPLETE" or taken is None or length is None:
        return False
    is_short = len(attributes.get(CURVE) or ()) < n_points(length.points)
    return is_short and taken < attributes.get("total_steps", taken)


def share_taken(trial: FrozenTrial) -> float:
    """The share of the announced steps that it took; 1 unless it ended early."""
    if not ended_early(trial):
        return 1.0
    return (steps_taken(trial) or 0) / float(trial.user_attrs["total_steps"])


def on_grid(curve: Sequence[float], planned: int, metric: Metric = ACCURACY) -> list[float]:
    """The points of a curve that are stored: at most CURVE_POINTS, at the same epochs for all runs.

    Pruners compare the runs of a study point by point, so the grid is that of the `planned` ones.
    What a loop of your own reports beyond them is not stored. Fractions are rounded; of other
    metrics nobody knows to what.
    """
    points = _thinned(curve, planned)
    return [round(value, 6) for value in points] if metric.is_fraction else points


def _thinned(curve: Sequence[Point], planned: int) -> list[Point]:
    stride = grid_stride(planned)
    return list(curve[stride - 1 :: stride])[:CURVE_POINTS]


def way_of_failing(error: BaseException) -> str:
    """Where and how: `mine.py:12 ValueError`; the message may differ from trial to trial."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno} " if frame else ""
    return where + kind_of(error)
